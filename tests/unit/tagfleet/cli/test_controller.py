from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from config import settings as config
from core.fleet.decisions import DecisionRecord
from core.fleet.events import FleetEvent
from core.fleet.roster import Heartbeat, Roster
from core.wiring import Backend
from tagfleet.cli import cli


@pytest.fixture
def backend(tmp_path) -> Backend:
    return Backend(config.load({"TAGFLEET_HOME": str(tmp_path)}))


@pytest.fixture
def run(backend) -> Callable[..., Result]:
    environment = {"TAGFLEET_HOME": str(backend.settings.home), "TAGFLEET_PORT": "9"}
    return lambda *arguments: CliRunner(env=environment).invoke(cli, arguments)


def test_a_pause_is_shown_until_it_ends(backend, run):
    backend.roster.record_decision(DecisionRecord(at=0.0, pool="p", action="hold", reason="r", terms={}))
    assert run("controller", "pause").exit_code == 0
    assert backend.roster.paused()
    assert "The fleet is paused until `tagfleet controller resume`." in run("status").stdout.splitlines()
    assert run("controller", "explain").stdout.startswith("The fleet is paused: no worker is launched or drained")
    assert run("controller", "resume").exit_code == 0
    assert not backend.roster.paused()
    assert "paused" not in run("status").stdout
    assert "paused" not in run("controller", "explain").stdout


def test_pausing_twice_is_pausing_once(backend, run):
    for _ in range(2):
        assert run("controller", "pause").exit_code == 0
    for _ in range(2):
        assert run("controller", "resume").exit_code == 0
    assert not backend.roster.paused()


def test_a_home_given_before_or_after_the_sub_command(backend, run, tmp_path):
    there = str(tmp_path / "there")
    Path(there).mkdir()
    run("controller", "--home", there, "pause")
    other = Backend(config.load({"TAGFLEET_HOME": there}))
    assert (other.roster.paused(), backend.roster.paused()) == (True, False)
    run("controller", "resume", "--home", there)
    assert not other.roster.paused()


@pytest.mark.parametrize(
    "words", ["status", "dead-letters list", "dead-letters redrive", "controller pause", "controller cap 3"]
)
def test_a_home_that_is_none_is_not_made(run, tmp_path, words):
    result = run(*words.split(), "--home", str(tmp_path / "misspelt"))
    assert result.exit_code == 1
    assert result.stderr == f"Error: there is no deployment in {tmp_path}/misspelt (setting home)\n"
    assert not (tmp_path / "misspelt").exists()


def beat(backend: Backend, worker: str) -> None:
    words = {"pool": "resnet50", "tagger": "t", "state": "idle", "seq": 1}
    backend.roster.beat(Heartbeat(worker_id=worker, at=0.0, state_since=0.0, started_at=0.0, **words))


def test_a_worker_is_asked_to_drain(backend, run):
    assert run("controller", "drain", "a").stderr == "Error: there is no live worker 'a'; no worker runs\n"
    for worker in ("b", "a"):
        beat(backend, worker)
    assert run("controller", "drain", "a").stdout == "a was asked to drain\n"
    answer = run("controller", "drain", "c")
    assert (answer.exit_code, answer.stderr) == (1, "Error: there is no live worker 'c'; there are a, b\n")
    assert backend.roster.drain_requests() == {"a"}


def test_a_cap_is_said_set_and_taken_back(backend, run):
    ours = backend.settings.controller.max_workers
    default = f"at most {ours} worker{'' if ours == 1 else 's'}, as controller.max_workers says"
    assert run("controller", "cap").stdout == default + "\n"
    assert default in run("status").stdout.splitlines()
    for most, words in ((0, "0 workers"), (1, "1 worker"), (7, "7 workers")):
        said = f"at most {words}, set by an operator; `tagfleet controller cap default` goes back to {ours}"
        assert run("controller", "cap", str(most)).stdout == run("controller", "cap").stdout == said + "\n"
        assert backend.roster.cap() == most
    assert "set by an operator" in run("status").stdout
    assert run("controller", "cap", "default").stdout == default + "\n"
    assert backend.roster.cap() is None


@pytest.mark.parametrize(
    ("nonsense", "words"),
    [
        ("-1", "a cap is 0 (no worker at all) to 10,000 workers, not -1"),
        ("10001", "a cap is 0 (no worker at all) to 10,000 workers, not 10001"),
        ("many", "a cap is a number of workers or `default`, not 'many'"),
        ("1.5", "a cap is a number of workers or `default`, not '1.5'"),
    ],
)
def test_a_cap_that_makes_no_sense_is_refused(backend, run, nonsense, words):
    answer = run("controller", "cap", nonsense)
    assert (answer.exit_code, answer.stderr) == (1, f"Error: {words}\n")
    assert backend.roster.cap() is None


def test_the_events_are_a_table(backend, run):
    assert "no event is stored in" in run("controller", "log").stderr
    launched = FleetEvent(
        at=1_800_000_000.0,
        kind="launched",
        pool="resnet50",
        worker_id="i-1",
        offering="g4dn.xlarge spot in us-east-1b",
        by="controller",
        controller="ctl_1",
        decision="dec_1",
        reason="31 images wait and no worker runs: launch 1",
    )
    taken = launched.model_copy(update={"kind": "interrupted", "worker_id": "i-2", "by": "owner", "reason": "a notice"})
    backend.roster.keep_events((launched, taken))
    head, *lines = run("controller", "log").stdout.splitlines()
    assert head.split() == ["time", "event", "pool", "worker,", "by", "whom", "and", "why"]
    assert [line[21:] for line in lines] == [
        "launched        resnet50  i-1, g4dn.xlarge spot in us-east-1b",
        "by the controller ctl_1 dec_1: 31 images wait and no worker runs: launch 1",
        "interrupted     resnet50  i-2, g4dn.xlarge spot in us-east-1b",
        "by the machine's owner: a notice",
    ]
    assert run("controller", "log", "-n", "1").stdout.splitlines()[1:] == lines[2:]
    assert run("controller", "log", "--worker", "i-1").stdout.splitlines()[1:] == lines[:2]
    assert "no event of the pool 'other' is stored" in run("controller", "log", "--pool", "other").stderr


@pytest.mark.parametrize("command", ["explain", "log"])
def test_what_has_not_run_is_said_of_the_deployments_place(backend, run, monkeypatch, command):
    assert f"is stored in folder {backend.settings.home}/store: has" in run("controller", command).stderr
    monkeypatch.setattr(Roster, "decisions", lambda _: [])
    monkeypatch.setattr(Roster, "events", lambda _: [])
    for name, value in {
        "TAGFLEET_BACKEND": "aws",
        "TAGFLEET_AWS__INPUT_BUCKET": "photos-in",
        "TAGFLEET_AWS__OUTPUT_BUCKET": "tags-out",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    }.items():
        monkeypatch.setenv(name, value)
    assert "is stored in bucket tags-out at http://127.0.0.1:9: has" in run("controller", command).stderr
