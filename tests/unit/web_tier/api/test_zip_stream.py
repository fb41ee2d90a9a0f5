"""Archives that are written as a stream are read by others, whatever their size."""

from __future__ import annotations

import io
import shutil
import subprocess
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web_tier.api.exports.zip_stream import ZipStream

AT = (2024, 2, 29, 23, 59, 58)
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\\"), min_size=1, max_size=50)
LARGE = 4 << 30


def archived(entries: list[tuple[str, bytes]], offset: int = 0) -> bytes:
    with ZipStream(offset) as archive:
        pieces = [archive.add(name, AT, content) for name, content in entries]
        return b"".join([*pieces, *archive.end()])


@given(st.lists(st.tuples(NAMES, st.binary(max_size=1000)), unique_by=lambda entry: entry[0], max_size=10))
def test_pythons_zipfile_reads_what_was_added(entries):
    with zipfile.ZipFile(io.BytesIO(archived(entries))) as archive:
        assert archive.testzip() is None
        assert [(info.filename, archive.read(info)) for info in archive.infolist()] == entries
        assert all(info.date_time == AT for info in archive.infolist())
        assert all(info.external_attr >> 16 == 0o100644 for info in archive.infolist())


def test_more_entries_than_a_plain_archive_can_have():
    count = 66_000
    data = archived([(f"{number}.xmp", b"") for number in range(count)])
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.namelist()[-1] == f"{count - 1}.xmp"
        assert len(archive.namelist()) == count


def test_entries_beyond_four_gigabytes(tmp_path: Path):
    path = tmp_path / "large.zip"
    with path.open("wb") as file:
        file.truncate(LARGE - 30)
        file.seek(LARGE - 30)
        file.write(archived([("a", b"before"), ("é", b"behind")], LARGE - 30))
    with zipfile.ZipFile(path) as archive:
        assert [info.header_offset >= LARGE for info in archive.infolist()] == [False, True]
        assert archive.testzip() is None
        assert archive.read("é") == b"behind"


@pytest.mark.skipif(shutil.which("unzip") is None, reason="no unzip (Debian's package unzip)")
@pytest.mark.parametrize("count", [0, 3, 66_000])
def test_unzip_reads_it(tmp_path: Path, count: int):
    path = tmp_path / "a.zip"
    path.write_bytes(archived([(f"folder/é{number}.xmp", b"content") for number in range(count)]))
    done = subprocess.run(["unzip", "-tqq", path], capture_output=True, text=True, check=False)
    assert done.returncode == (0 if count else 1), done.stderr + done.stdout  # 1: it warns that there is nothing


def test_the_directory_does_not_stay_in_memory():
    def peak(count: int) -> int:
        tracemalloc.start()
        with ZipStream() as archive:
            for number in range(count):
                archive.add(f"{number:0100}.xmp", AT, b"")
            for _ in archive.end():
                pass
            _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(20_000) < peak(4_000) + 100_000
