"""`tagfleet export` and the key that commands send, against a deployment in memory."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result

from tagfleet.cli import cli
from tagfleet.client._api import suggested_name

Run = Callable[..., Result]
SIDECARS = b"PK\x03\x04 not quite a zip \xff"


@pytest.fixture
def run(service, tmp_path) -> Run:
    service.faults.answers_next("/bat_0/export", 200, body=SIDECARS, times=None)
    environment = {"TAGFLEET_URL": service.url, "TAGFLEET_CACHE": str(tmp_path / "cache"), "TAGFLEET_HOME": "/nowhere"}
    return lambda *arguments, **more: CliRunner(env=environment | more).invoke(cli, [str(word) for word in arguments])


def test_it_writes_to_stdout(service, run):
    result = run("export", "bat_0", "--format", "jsonl")
    assert result.exit_code == 0, result.output
    assert result.stdout_bytes == SIDECARS
    assert service.faults.requests[0].query == "format=jsonl"


def test_a_table_for_programs_is_asked_for(service, run):
    assert run("export", "bat_0", "--plain").exit_code == 0
    assert service.faults.requests[0].query == "format=csv&plain=true"


def test_into_a_folder_it_is_called_as_the_service_says(service, run, tmp_path):
    folder = tmp_path / "albums"
    folder.mkdir()
    named = {"Content-Disposition": "attachment; filename=\"Ete.csv\"; filename*=UTF-8''%C3%89t%C3%A9.csv"}
    service.faults.clear()
    service.faults.answers_next("/export", 200, body=SIDECARS, headers=named, times=2)
    for made in ("Été.csv", "Été (2).csv"):
        result = run("export", "bat_0", "--output", folder)
        assert (result.exit_code, result.stdout, result.stderr) == (0, "", f"{folder / made}\n")
        assert (folder / made).read_bytes() == SIDECARS
    service.faults.breaks_next("/export")
    assert run("export", "bat_0", "--output", folder).exit_code == 1
    assert sorted(path.name for path in folder.iterdir()) == ["Été (2).csv", "Été.csv"]


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ("", "bat_0.csv"),
        ("attachment", "bat_0.csv"),
        ('attachment; filename="Rome.csv"', "Rome.csv"),
        ("attachment; filename*=UTF-8''..%2F..%2Fetc%2Fpasswd", "_.._etc_passwd"),
        ('attachment; filename="../x"', "_x"),
        ('attachment; filename="..."', "bat_0.csv"),
        ("attachment; filename*=UTF-8''%00%0A", "__"),
    ],
)
def test_a_suggested_name_leads_nowhere_else(disposition, name):
    assert suggested_name(disposition, "bat_0.csv") == name


def test_it_writes_a_file_that_is_whole_or_not_there(service, run, tmp_path):
    out = tmp_path / "tags.zip"
    service.faults.clear()
    service.faults.breaks_next("/export")
    service.faults.answers_next("/export", 200, body=SIDECARS)
    assert run("export", "bat_0", "--format", "xmp", "--output", out).exit_code == 1
    assert [path for path in tmp_path.iterdir() if "tags" in path.name] == []
    assert run("export", "bat_0", "--format", "xmp", "--output", out).exit_code == 0
    assert out.read_bytes() == SIDECARS


def test_no_such_batch_is_one_line(run):
    result = run("export", "bat_nothing")
    assert result.exit_code == 1
    said = r"Error: Not Found: there is no batch 'bat_nothing' \(HTTP 404, request req_\w+\)\n"
    assert re.fullmatch(said, result.stderr)
    assert result.stdout == ""


def test_a_folder_that_is_not_there_is_one_line(run, tmp_path):
    result = run("export", "bat_0", "--output", tmp_path / "gone" / "tags.csv")
    assert result.exit_code == 1
    assert "No such file or directory" in result.stderr


def test_the_key_comes_from_the_environment_or_the_flag(service, run):
    run("export", "bat_0", TAGFLEET_API_KEY="tf_one")
    run("export", "bat_0", "--api-key", "tf_two", TAGFLEET_API_KEY="tf_one")
    sent = {one.headers["Authorization"] for one in service.faults.requests}
    assert sent == {"Bearer tf_one", "Bearer tf_two"}
