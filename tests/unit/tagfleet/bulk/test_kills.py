"""A run and its worker are killed before and after every single call of a port; nothing is lost or doubled."""

from __future__ import annotations

import io
import threading
from dataclasses import dataclass, field
from typing import Any

import pytest
from pyarrow import parquet

from app_tier.pipeline.in_flight import InFlight
from app_tier.pipeline.result_writer import FinishedItem, ResultWriter
from app_tier.pipeline.retrying import Health, Retrier
from core.domain.messages import Result, Tag, decode_job
from core.storage.memory import MemoryStore
from core.storage.memory_queue import MemoryQueues
from tagfleet.bulk.listing import ListedObject
from tagfleet.bulk.run import BucketRun, RunSetup, drive
from tagfleet.bulk.state import RunFile, RunState

IMAGES, PORTION, CHUNK, LEAD, GROUP = 16, 7, 4, 8, 5
_VISIBILITY_S = 30.0


class Killed(BaseException):
    """The process is gone."""


@dataclass
class Kill:
    """Ends the process at one call of a port: before it, or after it, when its answer is lost."""

    at: int = 0
    after: bool = False
    calls: list[str] = field(default_factory=list)

    def wrap(self, name: str, port: Any) -> Any:
        return _Port(self, name, port)


class _Port:
    def __init__(self, kill: Kill, name: str, port: Any) -> None:
        self._kill, self._name, self._port = kill, name, port

    def __getattr__(self, method: str) -> Any:
        attribute = getattr(self._port, method)
        if not callable(attribute):
            return attribute

        def call(*args: Any, **kwargs: Any) -> Any:
            kill = self._kill
            kill.calls.append(f"{self._name}.{method}")
            dies = len(kill.calls) == kill.at
            if dies and not kill.after:
                raise Killed
            try:
                answer = attribute(*args, **kwargs)
                return list(answer) if method == "list" else answer
            finally:
                if dies:
                    raise Killed

        return call


class Listing:
    """A listing of images."""

    name = "numbers"
    uris = tuple(f"s3://photos/{number:03}.jpg" for number in range(IMAGES))

    def after(self, cursor: str) -> Any:
        for number in range(int(cursor or 0), IMAGES):
            yield ListedObject(self.uris[number], str(number + 1))


class World:
    """A store and queues that outlive every process."""

    def __init__(self) -> None:
        self.now = 0.0
        self.store = MemoryStore()
        self.queues = MemoryQueues(visibility_timeout_s=_VISIBILITY_S, max_receives=10, clock=lambda: self.now)
        self.jobs = self.queues.open("jobs")

    def live(self, kill: Kill) -> RunFile:
        """Run `tagfleet tag` and a worker to the end of the run, or until they are killed."""
        store, jobs = kill.wrap("store", self.store), kill.wrap("jobs", self.jobs)
        file = RunFile(store, "run_x", RunState(listing=Listing.name, pool="p"), lambda: self.now)
        setup = RunSetup(store, jobs, lambda: self.now, lead=LEAD, portion=PORTION, chunk=CHUNK)
        run = BucketRun(file, Listing(), setup)
        drive(run, lambda run: None, pytest.fail, lambda seconds: self.work(kill))
        return file

    def work(self, kill: Kill) -> None:
        """Tag a group of images and write their results, as a worker does."""
        jobs = kill.wrap("worker's jobs", self.jobs)
        in_flight = InFlight(jobs, limit=100, visibility_timeout_s=_VISIBILITY_S, clock=lambda: self.now)
        retrier = Retrier(threading.Event(), Health())
        writer = ResultWriter(kill.wrap("worker's store", self.store), self.queues.open("results"), in_flight, retrier)
        deliveries = jobs.receive(GROUP, 0)
        in_flight.add(deliveries)
        group = []
        for delivery in deliveries:
            job = decode_job(delivery.body)
            result = Result(
                batch_id=job.batch_id,
                image_id=job.image_id,
                name=job.name,
                tagger="t@1",
                worker="w",
                tags=(Tag(name=job.key, confidence=0.5),),
            )
            group.append(FinishedItem(delivery, result, store_only=job.store_only, pack=job.pack))
        assert writer.write(group)

    def rows(self) -> list[tuple[str, list[str]]]:
        keys = [info.key for info in self.store.list("exports/run_x/")]
        tables = [parquet.read_table(io.BytesIO(self.store.get(key).data)) for key in keys]
        return [(row["uri"], [tag["name"] for tag in row["tags"]]) for table in tables for row in table.to_pylist()]


def calls() -> list[str]:
    kill = Kill()
    World().live(kill)
    return kill.calls


def test_the_calls_are_those_between_which_a_kill_matters() -> None:
    """Else the test below would prove little."""
    found = set(calls())
    assert {"store.put", "store.list", "store.get", "jobs.send"} <= found
    assert {"worker's jobs.receive", "worker's store.put_all", "worker's jobs.delete"} <= found


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_kill_at_any_call_loses_and_doubles_nothing(after: bool) -> None:
    for at, call in enumerate(calls(), start=1):
        world = World()
        with pytest.raises(Killed):
            world.live(Kill(at, after))
        world.now += _VISIBILITY_S + 1  # the worker's messages come back
        file = world.live(Kill())
        assert world.rows() == [(uri, [uri]) for uri in Listing.uris], f"killed at {call}, call {at}"
        assert (file.state.sent, file.state.done, file.state.failed) == (IMAGES, IMAGES, 0)
        while world.jobs.depth().outstanding:
            world.now += _VISIBILITY_S + 1
            world.work(Kill())
        assert world.jobs.depth().dead == 0
