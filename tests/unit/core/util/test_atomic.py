from __future__ import annotations

from pathlib import Path

import pytest

from core.util.atomic import PRIVATE, atomic_folder, atomic_path, atomic_write


@pytest.mark.parametrize("options", [{}, {"durable": True}, {"sole_writer": True}])
def test_a_file_is_made_and_replaced(tmp_path: Path, options: dict[str, bool]) -> None:
    path = tmp_path / "state.json"
    atomic_write(path, "first", **options)
    atomic_write(path, b"second", **options)
    assert path.read_text() == "second"
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.json"]


def test_an_error_leaves_the_old_file_and_no_part(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_path(path) as part:
        part.write_text(f"half {1 // 0}")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_has_the_mode_that_was_asked_for(tmp_path: Path) -> None:
    atomic_write(tmp_path / "key", "secret", mode=PRIVATE)
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600


def test_an_error_names_the_target(tmp_path: Path) -> None:
    target = tmp_path / "missing" / "state.json"
    with pytest.raises(FileNotFoundError) as refused:
        atomic_write(target, "x")
    assert refused.value.filename == str(target)
    atomic_write(target, "x", make_parents=True)
    assert target.read_text() == "x"


def test_a_name_of_the_greatest_length_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("é" * 125)
    atomic_write(path, "x")
    assert path.read_text() == "x"


def test_the_sole_writer_writes_over_what_a_killed_process_left(tmp_path: Path) -> None:
    (tmp_path / ".state.json.part").write_text("a longer text that was left")
    atomic_write(tmp_path / "state.json", "x", sole_writer=True)
    assert (tmp_path / "state.json").read_text() == "x"
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.json"]


def test_a_folder_is_filled_once(tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "v1"
    made = atomic_folder(folder, lambda part: (part / "a").write_text("1"), durable=True)
    assert atomic_folder(folder, lambda _: pytest.fail("filled twice")) == made == folder
    assert (folder / "a").read_text() == "1"


def test_a_folder_that_another_process_made_meanwhile_stays(tmp_path: Path) -> None:
    folder = tmp_path / "v1"

    def fill(part: Path) -> None:
        (part / "a").write_text("ours")
        folder.mkdir()
        (folder / "a").write_text("theirs")

    assert atomic_folder(folder, fill) == folder
    assert (folder / "a").read_text() == "theirs"
    assert list(tmp_path.iterdir()) == [folder]


def test_a_folder_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fill(part: Path) -> None:
        (part / "a").write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        atomic_folder(tmp_path / "v1", fill)
    assert list(tmp_path.iterdir()) == []
