"""A tick in numbers."""

from __future__ import annotations

from collections import Counter

import pytest

from controller.events.metrics import samples
from controller.loop import Hooks
from controller.policy.policy import decide
from controller.simulation.world import World
from controller.state.model import Observation, PoolDelta, PoolView, Stage, Worker
from core.fleet.metrics import Metric, Sample
from core.storage.ports import Depth
from tests.unit.controller.test_loop import live


@pytest.fixture
def told(policy):
    """The numbers of one tick, by metric and pool; of a metric with several samples, all of them."""

    def told(*views: PoolView, elapsed_s: float = 2.0) -> dict[tuple[Metric, str], list[float]]:
        observation = Observation(elapsed_s, views)
        plan, _ = decide(observation, {}, policy)
        found: dict[tuple[Metric, str], list[float]] = {}
        for sample in samples(observation, plan):
            found.setdefault((sample.metric, sample.pool), []).append(sample.value)
        return found

    return told


def depth(visible: int = 0, in_flight: int = 0, dead: int = 0) -> Depth:
    return Depth(visible, in_flight, 0, dead, 0.0)


def test_every_metric_of_a_pool_that_works(told):
    workers = (
        Worker("i-1", Stage.BUSY, held=4, price=0.5),
        Worker("i-2", Stage.IDLE, price=0.25),
        Worker("i-3", Stage.DRAINING, price=0.25),
        Worker("hand-1", Stage.IDLE, ours=False),
    )
    news = PoolDelta(arrived=10, handled=8, failed=3, boots=(30.0, 40.0), failures=1)
    found = told(PoolView("a", depth(60, 4, 2), workers, news))
    assert {metric: values for (metric, _), values in found.items()} == {
        Metric.BACKLOG_VISIBLE: [60],
        Metric.BACKLOG_IN_FLIGHT: [4],
        Metric.BACKLOG_PER_WORKER: [20],
        Metric.DEAD_LETTERS: [2],
        Metric.WORKERS_READY: [3],
        Metric.WORKERS_BILLABLE: [3],
        Metric.WORKERS_WANTED: found[Metric.WORKERS_WANTED, "a"],
        Metric.BOOT_SECONDS: [30, 40],
        Metric.BOOT_FAILURES: [1],
        Metric.IMAGES_PER_SECOND: [4],
        Metric.IMAGE_ERRORS: [3],
        Metric.SPEND_PER_HOUR: [1],
    }
    assert {metric for metric, _ in found} == set(Metric)


def test_a_backlog_that_nobody_works_at_counts_as_one_workers(told):
    assert told(PoolView("a", depth(visible=7)))[Metric.BACKLOG_PER_WORKER, "a"] == [7]


def test_a_pool_that_could_not_be_read_says_nothing(told):
    found = told(PoolView("a", depth(5), unread="the queue jobs-a cannot be read"), PoolView("b", depth(6)))
    assert Counter(pool for _, pool in found).keys() == {"b"}


def test_no_time_no_rate(told):
    assert (Metric.IMAGES_PER_SECOND, "a") not in told(PoolView("a", depth()), elapsed_s=0.0)


def test_what_workers_failed_at_is_told_once(world: World) -> None:
    told: list[Sample] = []
    controller = world.controller(
        hooks=Hooks(on_tick=lambda observation, plan: told.extend(samples(observation, plan)))
    )
    world.queue.fill(20)
    live(world, controller, 4)
    [worker] = world.cloud.present
    world.beat(worker, images_failed=3)
    controller.tick()
    controller.tick()
    assert sum(sample.value for sample in told if sample.metric is Metric.IMAGE_ERRORS) == 3


def test_a_decision_has_one_id_in_the_log_the_record_and_the_history(world: World, capsys) -> None:
    controller = world.controller()
    world.queue.fill(12)
    live(world, controller, 40)
    with world.outside():
        history, [last] = world.roster.past_decisions(), world.roster.decisions()
    ids = [record.id for record in history]
    assert len(set(ids)) == len(ids) > 3
    assert all(id.startswith("dec_") for id in ids)
    assert last.id == ids[-1]
    said = capsys.readouterr().out
    assert all(id in said for id in ids)


def test_what_cannot_be_written_down_was_done_all_the_same_and_is_not_called_undone(world: World, capsys) -> None:
    controller = world.controller()
    world.queue.fill(5)
    world.faults.broken = {"put fleet/decisions/resnet50.json"}
    assert controller.tick() is not None
    assert len(world.cloud.present) == 1
    said = capsys.readouterr().out
    assert "the decisions could not be stored" in said
    assert "cannot act" not in said
