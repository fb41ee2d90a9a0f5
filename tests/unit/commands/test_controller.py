from __future__ import annotations

from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result

from config import settings as config
from core.roster import DecisionRecord
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
    assert "The fleet is paused; `tagfleet controller resume` goes on." in run("status").stdout.splitlines()
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
    run("controller", "--home", there, "pause")
    other = Backend(config.load({"TAGFLEET_HOME": there}))
    assert (other.roster.paused(), backend.roster.paused()) == (True, False)
    run("controller", "resume", "--home", there)
    assert not other.roster.paused()
