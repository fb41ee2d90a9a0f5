"""Results of a run wait for a full pack where requests cost money, and a drain does not wait for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from app_tier.pipeline import result_batching
from app_tier.pipeline.pipeline import Pipeline, PipelineOptions, PipelinePorts
from bench.deployment import wait_until
from config.settings import Settings
from core.domain.messages import Job, encode
from core.storage import layout, packs
from core.wiring import Backend


class Paid:
    """A queue whose requests carry ten messages and cost money."""

    per_request = 10

    def __init__(self, queue: Any) -> None:
        self._queue = queue

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)


@pytest.fixture
def pipeline(backend: Backend, settings: Settings, tagger: Any, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """A pipeline that waits for company as long as it takes."""
    monkeypatch.setattr(result_batching, "MAX_PACK_WAIT_S", 3600.0)
    monkeypatch.setattr(result_batching, "PACK_IDLE_S", 3600.0)
    ports = PipelinePorts(backend.jobs("resnet50"), Paid(backend.results), backend.store, backend.originals)
    return Pipeline(tagger, ports, PipelineOptions(settings.worker, "w1", settings.queue.visibility_timeout_s))


def test_a_drain_stores_what_waits_at_once(pipeline: Pipeline, backend: Backend, picture: Callable[..., bytes]) -> None:
    key = layout.image_key("bat_1", "img_1")
    backend.store.put(key, picture("blue"))
    jobs = [
        Job(
            batch_id="run_1",
            image_id=packs.image_id(1, position),
            key=key,
            name="k.png",
            tagger="t",
            submitted_at=0.0,
            store_only=True,
            pack=True,
        )
        for position in range(130)
    ]
    backend.jobs("resnet50").send(list(map(encode, jobs)))
    pipeline.start()
    wait_until(lambda: len(pipeline.in_flight) == 130 and not pipeline.in_flight.unfinished)
    assert not list(packs.list_results(backend.store, "run_1", 1)), "more than `prefetch` wait"
    pipeline.draining.set()
    assert pipeline.wait_until_drained(120)
    pipeline.close()
    (found,) = packs.list_results(backend.store, "run_1", 1)
    assert found.positions == tuple(range(130))
    assert backend.jobs("resnet50").depth().outstanding == 0
