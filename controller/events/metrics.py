"""A tick in numbers, for metrics. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from controller.state.model import Observation, Plan, PoolView, Terms
from core.fleet.metrics import Metric, Sample


def samples(observation: Observation, plan: Plan) -> list[Sample]:
    """Of every pool that could be read: old readings would look like new ones."""
    views = {view.pool: view for view in observation.pools if not view.unread}
    return [
        Sample(metric, pool.pool, float(value))
        for pool in plan.pools
        if (view := views.get(pool.pool))
        for metric, value in _of(view, pool.terms, observation.elapsed_s)
    ]


def _of(view: PoolView, terms: Terms, elapsed_s: float) -> Iterator[tuple[Metric, float]]:
    ours = [worker for worker in view.workers if worker.ours]
    yield Metric.BACKLOG_VISIBLE, terms.visible
    yield Metric.BACKLOG_IN_FLIGHT, terms.in_flight
    yield Metric.BACKLOG_PER_WORKER, terms.visible / max(1, terms.ready)
    yield Metric.DEAD_LETTERS, terms.dead
    yield Metric.WORKERS_READY, terms.ready
    yield Metric.WORKERS_BILLABLE, len(ours)
    yield Metric.WORKERS_WANTED, terms.wanted
    yield Metric.SPEND_PER_HOUR, sum(worker.price for worker in ours)
    yield Metric.BOOT_FAILURES, view.news.failures + view.news.broken
    yield Metric.IMAGE_ERRORS, view.news.failed
    if elapsed_s > 0:
        yield Metric.IMAGES_PER_SECOND, view.news.handled / elapsed_s
    for boot_s in view.news.boots:
        yield Metric.BOOT_SECONDS, boot_s
