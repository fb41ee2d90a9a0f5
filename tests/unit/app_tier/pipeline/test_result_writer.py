"""Results are stored before any message of their group is acknowledged, each in as few requests as it may."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

import pytest

from app_tier.pipeline.in_flight import InFlight
from app_tier.pipeline.result_writer import FinishedItem, ResultWriter
from app_tier.pipeline.retrying import Health, Retrier
from config.settings import Settings
from core.domain.messages import Job, Result, decode_output, decode_result, encode
from core.errors import Unavailable
from core.storage import layout, packs
from core.storage.memory import MemoryStore
from core.wiring import Backend


class Killed(BaseException):
    """The process is gone."""


class Store(MemoryStore):
    """Keeps each call of `put_all`, and may die or refuse before or after one."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[list[str]] = []
        self.before: list[BaseException] = []
        self.after: list[BaseException] = []

    def put_all(self, objects: Mapping[str, bytes], *, content_type: str = "") -> None:
        if self.before:
            raise self.before.pop()
        self.calls.append(list(objects))
        super().put_all(objects, content_type=content_type)
        if self.after:
            raise self.after.pop()


class Setup:
    """A writer over a store in memory and real queues."""

    def __init__(self, backend: Backend, settings: Settings) -> None:
        self.store = Store()
        self.jobs, self.results = backend.jobs("resnet50"), backend.results
        self.stop = threading.Event()
        self.in_flight = InFlight(
            self.jobs, limit=1000, visibility_timeout_s=settings.queue.visibility_timeout_s, clock=time.monotonic
        )
        self.writer = ResultWriter(self.store, self.results, self.in_flight, Retrier(self.stop, Health()))

    def items(self, *ids: str, run: str = "run_a", **fields: Any) -> list[FinishedItem]:
        fields = {"store_only": True, "pack": True} | fields
        self.jobs.send(["{}"] * len(ids))
        deliveries = self.jobs.receive(len(ids), 0)
        self.in_flight.add(deliveries)
        results = [Result(batch_id=run, image_id=id_, name="n", tagger="t", worker="w") for id_ in ids]
        return [FinishedItem(*both, **fields) for both in zip(deliveries, results, strict=True)]

    def positions(self, run: str = "run_a") -> list[int]:
        return sorted(at for found in packs.list_results(self.store, run, 1) for at in found.positions)

    @property
    def outstanding(self) -> int:
        return self.jobs.depth().outstanding


@pytest.fixture
def setup(backend: Backend, settings: Settings) -> Setup:
    return Setup(backend, settings)


def ids(count: int) -> list[str]:
    return [packs.image_id(1, position) for position in range(count)]


def test_a_group_becomes_one_object(setup: Setup) -> None:
    assert setup.writer.write(setup.items(*ids(150)))
    assert [len(keys) for keys in setup.store.calls] == [1]
    assert setup.positions() == list(range(150))
    assert (setup.outstanding, setup.results.depth().outstanding, len(setup.in_flight)) == (0, 0, 0)


def test_results_to_send_are_stored_by_one_call_and_sent_one_by_one(setup: Setup) -> None:
    group = setup.items("img_1", "img_2", run="bat_1", store_only=False, pack=False)
    assert setup.writer.write(group)
    keys = [layout.result_key("bat_1", id_) for id_ in ("img_1", "img_2")]
    assert setup.store.calls == [keys]
    assert [decode_result(setup.store.get(key).data) for key in keys] == [item.result for item in group]
    sent = [decode_output(delivery.body) for delivery in setup.results.receive(10, 0)]
    assert [(output.result, output.result_key) for output in sent] == [
        (item.result, key) for item, key in zip(group, keys, strict=True)
    ]


def test_a_result_with_no_place_in_a_run_is_an_object_of_its_own(setup: Setup) -> None:
    assert setup.writer.write(setup.items("other", *ids(2)))
    assert setup.positions() == [0, 1]
    assert setup.store.get(layout.result_key("run_a", "other")).data


@pytest.mark.parametrize("after", [False, True], ids=["before the pack is put", "after the pack is put"])
def test_a_worker_that_dies_acknowledges_nothing(setup: Setup, after: bool) -> None:
    group = setup.items(*ids(5))
    (setup.store.after if after else setup.store.before).append(Killed())
    with pytest.raises(Killed):
        setup.writer.write(group)
    assert setup.outstanding == 5
    assert setup.positions() == (list(range(5)) if after else [])


def test_a_store_that_does_not_answer_is_asked_again_with_the_same_pack(setup: Setup) -> None:
    setup.store.after.append(Unavailable("the answer was lost"))
    assert setup.writer.write(setup.items(*ids(5)))
    first, second = setup.store.calls
    assert first == second
    assert setup.outstanding == 0


def test_a_worker_told_to_stop_meanwhile_releases_the_group(setup: Setup) -> None:
    setup.stop.set()
    setup.store.before.append(Unavailable("the disk is full"))
    assert not setup.writer.write(setup.items(*ids(5)))
    assert (setup.jobs.depth().visible, len(setup.in_flight)) == (5, 0)


@pytest.mark.parametrize(("pack", "found"), [(True, False), (False, True)])
def test_an_image_that_comes_back_to_a_run_with_packs_costs_no_request(setup: Setup, pack: bool, found: bool) -> None:
    job = Job(
        batch_id="run_a",
        image_id=packs.image_id(1, 0),
        key="s3://b/k",
        name="k",
        tagger="t",
        submitted_at=0.0,
        store_only=True,
        pack=pack,
    )
    result = Result(batch_id="run_a", image_id=job.image_id, name="k", tagger="t", worker="w")
    setup.store.put(layout.result_key("run_a", job.image_id), encode(result).encode())
    assert (setup.writer.find_stored(job) is not None) == found
