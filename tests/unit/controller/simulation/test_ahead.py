"""Workers that are up before the work, over two simulated days."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from config.schedule import schedule
from config.settings import Settings
from controller.policy.policy import decide
from controller.simulation.run import ZONE, SimulatedRun, simulate
from controller.simulation.run_metrics import summary
from controller.simulation.scenario import CALM, Scenario, WorkerSpec, build_scenario
from controller.simulation.traces import Trace

DAY = 86_400.0


@pytest.fixture
def slow(settings: Settings) -> Scenario:
    """Boots of five minutes, a tick every three, and workers that do an image in five seconds."""
    machine = WorkerSpec(throughput=0.2, boot_s=300.0, visibility_timeout_s=60.0)
    return build_scenario(settings.controller, machine, CALM, max_workers=6, tick_s=180.0)


_RATES = {8: 0.3, 9: 0.7, 10: 0.9, 11: 0.5, 12: 0.1, 13: 0.4, 14: 0.8, 15: 0.5, 16: 0.3, 17: 0.1}
"""Images/s in each hour of a day."""


def two_days() -> Trace:
    """From 8 to 18 o'clock, most of it before noon and at two; each minute of either day gives or takes a fifth."""
    chance, arrivals = random.Random(3), []
    for minute in range(2 * 1440):
        hour = minute / 60 % 24
        rate = _RATES.get(int(hour), 0.0)
        if images := round(60 * rate * chance.uniform(0.8, 1.2)):
            arrivals.append((60.0 * minute, images))
    return Trace("two days", 2 * DAY, tuple(arrivals))


def second_day(run: SimulatedRun) -> float:
    """The p95 wait of the images of the second day."""
    first = sum(count for at, count in run.trace.arrivals if at < DAY)
    waits, seen = [], 0
    for wait, count in run.waits:
        seen += count
        if seen > first:
            waits.append((wait, count))
    return summary(waits)[2]


def foreseeing(stage: Scenario) -> Scenario:
    return replace(stage, settings=stage.settings.model_copy(update={"forecast": True}))


def test_foreseeing_shortens_the_second_days_waits_for_little_money(slow: Scenario) -> None:
    trace = two_days()
    without, with_it = (simulate(trace, "tagfleet", decide, stage, 1) for stage in (slow, foreseeing(slow)))
    told = f"p95 {second_day(without):.0f} s → {second_day(with_it):.0f} s, ${without.cost:.2f} → ${with_it.cost:.2f}"
    assert without.done == with_it.done == trace.images
    assert second_day(with_it) < 0.8 * second_day(without), told
    assert with_it.cost < 1.15 * without.cost, told


def test_a_scheduled_worker_is_there_before_the_first_image_of_the_day(slow: Scenario) -> None:
    trace = Trace("morning", 10 * 3600.0, ((8 * 3600.0 + 1, 8),))
    plan = schedule("wed 08:00-09:00 1", ZONE)
    cold, warm = (simulate(trace, "tagfleet", decide, stage, 1) for stage in (slow, replace(slow, schedule=plan)))
    assert summary(cold.waits)[4] >= 300.0
    assert summary(warm.waits)[4] == pytest.approx(40.0)
    assert warm.launched == 1
    assert warm.worker_s == pytest.approx(3_600 + 300, abs=600)


def test_a_run_ends_with_its_work_though_the_schedule_goes_on(slow: Scenario) -> None:
    stage = replace(slow, schedule=schedule("daily 00:00-24:00 1", ZONE))
    assert simulate(Trace("short", 3_600.0, ((60.0, 8),)), "tagfleet", decide, stage, 1).length_s == 3_600.0
