"""Settings from four sources, and the one line that a wrong one gets."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.settings import BadSetting, Document, as_environment, child_environment, load
from config.sources import RENAMED


def test_the_later_source_wins(tmp_path: Path) -> None:
    file = tmp_path / "tagfleet.toml"
    file.write_text("port = 1\nhost = '127.0.0.2'\n[worker]\nbatch_size = 2\nprefetch = 7\n")
    environ = {"TAGFLEET_CONFIG": str(file), "TAGFLEET_PORT": "3", "TAGFLEET_WORKER__BATCH_SIZE": "4"}
    settings = load(environ, flags={"worker.batch_size": "5", "port": None})
    assert (settings.host, settings.port) == ("127.0.0.2", 3)
    assert (settings.worker.batch_size, settings.worker.prefetch) == (5, 7)


@pytest.mark.parametrize(
    ("environ", "line"),
    [
        ({"TAGFLEET_PORT": "eighty"}, "setting port: Input should be a valid integer"),
        ({"TAGFLEET_PORT": "70000"}, "setting port: Input should be less than or equal to 65535"),
        ({"TAGFLEET_WORKER__BATCH_SIZE": "0"}, "setting worker.batch_size: Input should be greater than or equal to 1"),
        ({"TAGFLEET_WORKER__THREDS": "2"}, "setting worker.threds: there is no such setting"),
        ({"TAGFLEET_PROT": "80"}, "environment variable TAGFLEET_PROT: there is no setting 'prot'"),
        ({"TAGFLEET_CONFIG": "/nowhere.toml"}, "settings file /nowhere.toml: No such file or directory"),
        ({"TAGFLEET_CONTROLLER__UTILISATION": "nan"}, "setting controller.utilisation: "),
        ({"TAGFLEET_POOLS__X__TOP_K": "3"}, "setting pools.x.tagger: Field required"),
        ({"TAGFLEET_AWS__INPUT_BUCKET": "s3://photos/"}, "setting aws.input_bucket: String should match pattern"),
        ({"TAGFLEET_HOME": ""}, "setting home: it does not name a folder"),
        ({"TAGFLEET_CACHE": " "}, "setting cache: it does not name a folder"),
    ],
)
def test_a_wrong_setting_is_named_in_one_line(environ: dict[str, str], line: str) -> None:
    with pytest.raises(BadSetting) as caught:
        load(environ)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    file = tmp_path / "photo.toml"
    file.write_bytes(b"\xff\xd8\xff")
    with pytest.raises(BadSetting, match=rf"^settings file {file}: it is not text in UTF-8$"):
        load({}, file=file)


def test_a_size_is_a_number_or_chosen_by_the_worker() -> None:
    assert load({}).worker.batch_size == "auto"
    assert load({"TAGFLEET_WORKER__PREFETCH": "auto"}).worker.prefetch == "auto"
    given = load({"TAGFLEET_WORKER__FETCH_THREADS": "40"})
    assert given.worker.fetch_threads == 40
    assert load(as_environment(given)) == given
    with pytest.raises(BadSetting, match=r"^setting worker\.fetch_threads: Input should be a valid integer"):
        load({"TAGFLEET_WORKER__FETCH_THREADS": "many"})


@given(
    port=st.integers(0, 65535),
    batch_size=st.integers(1, 10_000),
    wait=st.floats(0, 1e6),
    pool=st.from_regex(r"[a-z0-9]{1,4}(-[a-z0-9]{1,4}){0,2}", fullmatch=True),
)
def test_a_child_process_loads_exactly_the_same(port: int, batch_size: int, wait: float, pool: str) -> None:
    flags = {
        "port": port,
        "worker.batch_size": batch_size,
        "worker.batch_wait_ms": wait,
        "pools": {pool: {"tagger": "x"}},
    }
    settings = load({}, flags=flags)
    assert load(as_environment(settings)) == settings


@pytest.mark.parametrize(
    "text", ["[web]\ncatalog_url = ['hunter2secret']", "[web.catalog_url]\npassword = 'hunter2secret'"]
)
def test_a_catalogs_url_is_never_repeated(text: str) -> None:
    with pytest.raises(BadSetting, match=r"^setting web\.catalog_url") as refused:
        load({}, file=Document("file", text))
    assert "hunter2secret" not in str(refused.value)


@pytest.mark.parametrize(("most", "isolated"), [("1", "2"), ("2", "3"), ("9", "10")])
def test_a_crashing_image_is_decoded_apart_before_it_is_a_dead_letter(most: str, isolated: str) -> None:
    names = {"TAGFLEET_QUEUE__MAX_RECEIVES": most, "TAGFLEET_WORKER__ISOLATE_RECEIVE": isolated}
    with pytest.raises(BadSetting) as caught:
        load(names)
    assert str(caught.value) == (
        f"setting queue.max_receives is {most}, and worker.isolate_receive {isolated}: an image that crashes its "
        f"worker would be a dead letter before it is decoded apart; raise queue.max_receives to {isolated} or more"
    )
    load({**names, "TAGFLEET_QUEUE__MAX_RECEIVES": isolated})


OLD_AND_NEW = [(section, old, new) for section, names in RENAMED.items() for old, new in names.items()]


@pytest.mark.parametrize(("section", "old", "new"), OLD_AND_NEW)
def test_an_old_name_is_read_from_every_source(tmp_path: Path, section: str, old: str, new: str) -> None:
    value = True if new == "forecast" else 7.5
    text = f"[{section}]\n{old} = {str(value).lower()}\n"
    variable = f"TAGFLEET_{section}__{old}".upper()
    lines: list[str] = []
    for settings in (
        load({}, file=Document("fleet.toml", text), tell=lines.append),
        load({variable: str(value)}, tell=lines.append),
        load({}, flags={f"{section}.{old}": value}, tell=lines.append),
    ):
        assert getattr(getattr(settings, section), new) == value
    assert [line.split(" is now called ")[0] for line in lines] == [
        f"settings file fleet.toml: {section}.{old}",
        f"environment variable {variable}",
        f"setting {section}.{old}",
    ]
    assert all(f"is now called {section}.{new};" in line for line in lines)


def test_the_later_source_wins_by_whatever_name() -> None:
    file = Document("fleet.toml", "[controller]\nidle_keep_s = 1.0\npeek_s = 1.0\n")
    settings = load({"TAGFLEET_CONTROLLER__LINGER_S": "2", "TAGFLEET_CONTROLLER__POLL_S": "3"}, file=file)
    assert (settings.controller.idle_keep_s, settings.controller.poll_s) == (2.0, 3.0)


def test_both_names_at_once_are_refused() -> None:
    with pytest.raises(BadSetting) as refused:
        load({}, file=Document("fleet.toml", "[worker]\nlook_s = 1\nreload_s = 2"))
    assert str(refused.value) == (
        "settings file fleet.toml: worker.look_s is the old name of worker.reload_s, which is given too: "
        "keep worker.reload_s alone"
    )


def test_a_child_process_inherits_no_old_name() -> None:
    environ = {"TAGFLEET_WORKER__LOOK_S": "7", "PATH": "/bin"}
    settings = load(environ)
    passed_on = child_environment(environ, settings)
    assert passed_on["PATH"] == "/bin"
    assert load(passed_on, tell=pytest.fail) == settings


def test_an_engine_for_processors_on_a_gpu_is_refused() -> None:
    with pytest.raises(BadSetting, match=r'worker\.device is "cuda", and worker\.engine "openvino" runs on processors'):
        load({}, flags={"worker.device": "cuda", "worker.engine": "openvino"})
    assert load({}, flags={"worker.device": "cuda"}).worker.device == "cuda"
