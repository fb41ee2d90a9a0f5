"""Ours beside the others and the clairvoyant, and the command that tells of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from click.testing import CliRunner

from config.settings import Settings
from controller.simulation.clairvoyant import bound_cost, plan_clairvoyantly
from controller.simulation.compare import GOAL, OURS, Row, compare, verdicts
from controller.simulation.run import SimulatedRun, Snapshot
from controller.simulation.run_metrics import measure_run, summary
from controller.simulation.scenario import USUAL, WorkerSpec, build_scenario
from controller.simulation.traces import Trace, trace
from tagfleet.cli import cli


@pytest.fixture(autouse=True)
def log() -> Iterator[None]:
    """The command sets the log of its process; the other tests of this one have their own."""
    yield
    structlog.reset_defaults()


def test_percentiles_are_nearest_ranks_weighted_by_images() -> None:
    assert summary([(5.0, 1), (1.0, 94), (3.0, 5)]) == pytest.approx((1.14, 1.0, 3.0, 3.0, 5.0))
    assert summary([]) == (0.0,) * 5


def test_a_clairvoyant_pays_the_work_and_one_boot_for_a_batch() -> None:
    machine = WorkerSpec(throughput=10.0, boot_s=60.0, price=0.36)
    batch = Trace("batch", 600.0, ((100.0, 600),))
    plan = plan_clairvoyantly(batch, machine, p95_s=70.0)
    assert plan.launched == 1
    assert plan.cost == pytest.approx(bound_cost(batch, machine), rel=0.02)


def test_a_clairvoyant_in_a_hurry_pays_more() -> None:
    machine = WorkerSpec()
    batch = Trace("batch", 600.0, ((100.0, 600),))
    costs = [plan_clairvoyantly(batch, machine, p95_s).cost for p95_s in (5.0, 20.0, 70.0)]
    assert costs == sorted(costs, reverse=True)
    assert costs[0] > costs[-1]


def test_ours_holds_its_promises_where_a_photo_comes_now_and_then(settings: Settings) -> None:
    """The whole set of traces takes minutes: `make elasticity`."""
    stage = build_scenario(settings.controller, weather=USUAL)
    photos = trace("sparse", 3).arrivals[:16]
    rows = list(compare([Trace("sparse", 2_900.0, photos)], [OURS, "keda"], stage, 3))
    assert all(holds for holds, _ in verdicts(rows)), verdicts(rows)
    assert next(row.ratio for row in rows if row.run.policy == OURS) <= GOAL


def test_a_policy_that_is_worse_in_both_is_told(settings: Settings) -> None:
    stage = build_scenario(settings.controller)
    [row] = compare([trace("old", 1)], [OURS], stage, 1)
    better = SimulatedRun(row.run.trace, "keda", [Snapshot(0.0, 0, 0, 0, 0, 0)], [(1.0, 30)], cost=0.001, done=30)
    found = verdicts([row, Row(better, measure_run(better, stage), 0.001)])
    assert (False, "keda: better in both p95 wait and cost on 0 of 1 traces, worse in both on 1 (old)") in found


def test_the_command_prints_a_table_and_writes_plots_a_page_and_the_docs(tmp_path: Path) -> None:
    mine = tmp_path / "mine.csv"
    mine.write_text("1,40\n")
    written = [f"--{kind}={tmp_path / 'p'}.{kind}" for kind in ("png", "html")] + [f"--docs={tmp_path}"]
    said = CliRunner().invoke(cli, ["simulate", "--trace", str(mine), "--policy", "tagfleet", *written])
    assert said.exit_code == 0, said.output
    assert "× clairvoyant" in said.output
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "p.html").read_text()
    assert page.count("<svg") == 1
    assert "http://" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    )
    docs = (tmp_path / "elasticity.md").read_text()
    assert "| **mine** | **tagfleet** |" in docs
    assert (tmp_path / "elasticity-mine.png").exists()


def test_a_trace_or_a_policy_that_is_not_there_is_named() -> None:
    said = CliRunner().invoke(cli, ["simulate", "--trace", "no-such"])
    assert said.exit_code == 2
    assert "no-such" in said.output
    assert "diurnal" in said.output
    said = CliRunner().invoke(cli, ["simulate", "--policy", "hope"])
    assert "there is no policy 'hope'" in said.output


def test_the_command_takes_a_schedule_and_says_what_is_wrong_with_one(tmp_path: Path) -> None:
    mine = tmp_path / "mine.csv"
    mine.write_text("3600,8\n")
    arguments = [
        "simulate",
        "--trace",
        str(mine),
        "--policy",
        "tagfleet",
        "--weather",
        "calm",
        "--foresee",
        "--schedule",
    ]
    assert " 0.8 " in CliRunner().invoke(cli, [*arguments, "wed 01:00-02:00 1"]).output, "no boot is waited for"
    said = CliRunner().invoke(cli, [*arguments, "wed 25:00-26:00 1"])
    assert said.exit_code == 2
    assert "'25:00' in 'wed 25:00-26:00 1'" in said.output
