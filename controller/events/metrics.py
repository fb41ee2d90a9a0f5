"""One tick in numbers, for CloudWatch. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from controller.state.model import Observation, Plan, PoolView
from core.fleet.metrics import Metric, Sample
from core.fleet.terms import Terms


def samples(observation: Observation, plan: Plan) -> list[Sample]:
    """Return the samples of each pool that was read. An unread pool has none: its old counts would look new."""
    views = {view.pool: view for view in observation.pools if not view.unread}
    return [
        Sample(metric, decision.pool, float(value))
        for decision in plan.pools
        if (view := views.get(decision.pool))
        for metric, value in (*_terms(decision.terms), *_pool(view, decision.terms, observation.elapsed_s))
    ]


def _terms(terms: Terms) -> Iterator[tuple[Metric, float]]:
    """Yield the terms that are sent under a metric of their own."""
    for _, term, value in terms.items():
        if term.metric and isinstance(value, int | float):
            yield term.metric, value


def _pool(view: PoolView, terms: Terms, elapsed_s: float) -> Iterator[tuple[Metric, float]]:
    """Yield what no term holds: ratios, this pool's own share of the bill, and what happened since the last tick."""
    ours = [worker for worker in view.workers if worker.ours]
    yield Metric.BACKLOG_PER_WORKER, terms.visible / max(1, terms.ready)
    yield Metric.WORKERS_READY, terms.ready
    yield Metric.WORKERS_BILLABLE, len(ours)
    yield Metric.SPEND_PER_HOUR, sum(worker.price for worker in ours)
    yield Metric.BOOT_FAILURES, view.delta.failures + view.delta.broken
    yield Metric.IMAGE_ERRORS, view.delta.failed
    if elapsed_s > 0:
        yield Metric.IMAGES_PER_SECOND, view.delta.handled / elapsed_s
    for boot_s in view.delta.boots:
        yield Metric.BOOT_SECONDS, boot_s
