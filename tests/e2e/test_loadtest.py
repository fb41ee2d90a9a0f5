"""`tagfleet loadtest` against a real deployment."""

from __future__ import annotations

import json

import pytest

from tagfleet.client import Client

pytestmark = pytest.mark.e2e


def test_a_cold_test_has_all_figures_and_an_expired_one_says_what_is_missing(deploy, until, tmp_path):
    deployment = deploy(TAGFLEET_CONTROLLER__IDLE_KEEP_S="3", TAGFLEET_CONTROLLER__STABILISATION_S="0.3")
    out = tmp_path / "report"

    def load(*arguments: str | int) -> tuple[int, str, dict]:
        process = deployment.run("loadtest", "--size", "2kB", "--size", "30kB", "--output", out, *arguments)
        said, told = process.communicate(timeout=300)
        [run] = json.loads(out.with_name("report.json").read_text())["runs"]
        return process.returncode, said + told, run

    code, said, run = load("--count", 9, "--rate", 30, "--start", "cold", "--batches", 2, "--delete")
    assert code == 0, said
    assert "load: 9 of 9 photos tagged, start cold" in said
    for photo in run["photos"]:
        assert photo["planned"] <= photo["sent"] <= photo["tagged"]
        assert photo["error"] is None
    assert sorted(photo["bytes"] for photo in run["photos"]) == [2_000] * 5 + [30_000] * 4
    [boot] = run["boots"]
    assert boot["phases"]["ready"] > 0
    assert run["samples"][0]["workers"] == {}
    assert "<svg" in out.with_name("report.html").read_text()

    until(lambda: deployment.find("worker") == [])
    deployment.backend.roster.pause()
    code, said, _ = load("--count", 6, "--per-request", 3, "--seconds", 2)
    assert code == 1, said
    assert "load: 0 of 6 photos tagged" in said
    assert "6 × no tags in time" in said
    with Client(deployment.url) as client:
        [left] = client.batches()  # the first test's batches are deleted
    assert left.cancelled == 6
