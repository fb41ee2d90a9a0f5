"""The implementations that go through the contract suites.

Each port has a protocol here that says what a suite needs to know of an implementation beside the port itself. To
send another implementation through a suite, write that class for it and add it to the fixture's `params`.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Protocol

import pytest

from config.settings import Settings
from core.local.fleet import LocalFleet
from core.local.instance_files import path_of, read
from core.local.queue import LocalQueue
from core.local.store import LocalStore
from core.local.uptime import Uptime
from core.storage.memory import MemoryStore
from core.storage.memory_fleet import MemoryFleet, MemoryInstances
from core.storage.memory_queue import MemoryQueues as QueuesInMemory
from core.storage.ports import Fleet, ObjectStore, Offering, Queue
from tests.contract.aws import S3Stores, SecondS3Stores, SqsQueues
from tests.contract.ec2 import Ec2Fleets


class Stores(Protocol):
    needs: ClassVar[tuple[str, ...]]
    """The fixtures that it is made of."""
    examples: ClassVar[int]
    """How many runs of a property it is fast enough for."""

    def open(self) -> ObjectStore:
        """Another client of one and the same store."""

    def unavailable(self) -> ObjectStore | None:
        """A client of a store that cannot be reached; None where it always can be."""


class Queues(Protocol):
    needs: ClassVar[tuple[str, ...]]
    examples: ClassVar[int]
    visibility_timeout_s: float
    max_receives: int
    pauses: tuple[float, ...]
    """Seconds that may pass; not near to a timeout where the clock goes on by itself."""
    hidings: tuple[float, ...]
    """Seconds for which a message may be hidden; 0: given back."""
    exact: bool
    """Whether counts are exact, and a receive returns the oldest messages and all that it may."""

    def open(self, name: str) -> Queue:
        """Another client of the queue of this name, which is made if it is not there."""

    def unavailable(self) -> Queue: ...

    def now(self) -> float: ...

    def pass_time(self, seconds: float) -> None: ...


class Fleets(Protocol):
    needs: ClassVar[tuple[str, ...]]
    examples: ClassVar[int]

    def open(self) -> Fleet:
        """Another client of one and the same fleet; its workers run until they are asked to stop."""

    def stubborn(self) -> Fleet:
        """A client of that same fleet whose workers do not stop when they are asked."""

    def without_capacity(self) -> Fleet:
        """A client of that same fleet which can start nothing now."""

    def unavailable(self) -> Fleet: ...

    def booted(self, id: str) -> bool:
        """Whether the instance's worker has come up, so far that it would obey or defy."""

    def crash(self, id: str) -> None:
        """End an instance behind the fleet's back."""

    def pass_time(self, seconds: float) -> None: ...


class LocalStores:
    needs = ("tmp_path",)
    examples = 40

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self) -> ObjectStore:
        return LocalStore(self._folder / "store")

    def unavailable(self) -> ObjectStore:
        store = LocalStore(self._folder / "unmounted")
        (self._folder / "unmounted").rename(self._folder / "elsewhere")
        return store


class MemoryStores:
    needs = ()
    examples = 40

    def __init__(self) -> None:
        self._store = MemoryStore(time.time)

    def open(self) -> ObjectStore:
        return self._store

    def unavailable(self) -> None:
        return None


class LocalQueues:
    visibility_timeout_s = 30.0
    max_receives = 3
    pauses = (1, 10, 31)
    hidings = (0, 5, 60)
    exact = True
    needs = ("tmp_path",)
    examples = 60

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._now = 1_700_000_000.0

    def open(self, name: str) -> Queue:
        return self._open(self._folder / "queues.db", name)

    def unavailable(self) -> Queue:
        queue = self._open(self._folder / "unmounted" / "queues.db", "jobs")
        (self._folder / "unmounted").rename(self._folder / "elsewhere")
        return queue

    def now(self) -> float:
        return self._now

    def pass_time(self, seconds: float) -> None:
        self._now += seconds

    def _open(self, path: Path, name: str) -> Queue:
        return LocalQueue(
            path,
            name,
            visibility_timeout_s=self.visibility_timeout_s,
            max_receives=self.max_receives,
            clock=self.now,
            uptime=Uptime(self.now, "boot"),
        )


class MemoryQueues:
    visibility_timeout_s = 30.0
    max_receives = 3
    pauses = (1, 10, 31)
    hidings = (0, 5, 60)
    exact = True
    needs = ()
    examples = 60

    def __init__(self) -> None:
        self._now = 1_700_000_000.0
        self._queues = self._made()

    def open(self, name: str) -> Queue:
        return self._queues.open(name)

    def unavailable(self) -> Queue:
        queues = self._made()
        queues.available = False
        return queues.open("jobs")

    def now(self) -> float:
        return self._now

    def pass_time(self, seconds: float) -> None:
        self._now += seconds

    def _made(self) -> QueuesInMemory:
        return QueuesInMemory(
            visibility_timeout_s=self.visibility_timeout_s, max_receives=self.max_receives, clock=self.now
        )


class LocalFleets:
    _SLEEP = "import signal, time; signal.signal(signal.SIGTERM, signal.{}); print('up', flush=True); time.sleep(600)"
    needs = ("tmp_path", "settings")
    examples = 8

    def __init__(self, folder: Path, settings: Settings) -> None:
        self._root = folder / "instances"
        self._settings = settings
        self._ahead = 0.0

    def open(self) -> Fleet:
        return self._open(sys.executable, "-c", self._SLEEP.format("SIG_DFL"))

    def stubborn(self) -> Fleet:
        return self._open(sys.executable, "-c", self._SLEEP.format("SIG_IGN"))

    def without_capacity(self) -> Fleet:
        return self._open("no-such-program")

    def unavailable(self) -> Fleet:
        root = self._root.with_name("unmounted")
        fleet = LocalFleet(root, ["true"], self._settings)
        root.rename(root.with_name("elsewhere"))
        return fleet

    def booted(self, id: str) -> bool:
        return "up" in (self._settings.home / "logs" / f"worker-{id}.log").read_text()

    def crash(self, id: str) -> None:
        record = read(path_of(self._root, id))
        assert record is not None
        assert record.pid is not None
        os.kill(record.pid, signal.SIGKILL)

    def pass_time(self, seconds: float) -> None:
        self._ahead += seconds

    def _open(self, *command: str) -> Fleet:
        return LocalFleet(self._root, command, self._settings, clock=lambda: time.time() + self._ahead)


class MemoryFleets:
    needs = ()
    examples = 40

    def __init__(self) -> None:
        self._instances = MemoryInstances()
        self._now = time.time()

    def open(self) -> Fleet:
        return self._open()

    def stubborn(self) -> Fleet:
        return self._open(obeys=False)

    def without_capacity(self) -> Fleet:
        return self._open(capacity=0)

    def unavailable(self) -> Fleet:
        return MemoryFleet(MemoryInstances(available=False))

    def booted(self, id: str) -> bool:
        return True

    def crash(self, id: str) -> None:
        self._instances.crash(id, self._now)

    def pass_time(self, seconds: float) -> None:
        self._now += seconds

    def _open(self, **options: Any) -> Fleet:
        spot = Offering("memory", "local", "spot", 0.1)
        return MemoryFleet(self._instances, lambda: self._now, offerings=[spot], **options)


@pytest.fixture(params=[LocalStores, S3Stores, SecondS3Stores, MemoryStores])
def stores(request: pytest.FixtureRequest) -> Stores:
    return request.param(*map(request.getfixturevalue, request.param.needs))


@pytest.fixture(params=[LocalQueues, SqsQueues, MemoryQueues])
def queues(request: pytest.FixtureRequest) -> Queues:
    return request.param(*map(request.getfixturevalue, request.param.needs))


@pytest.fixture(params=[LocalFleets, Ec2Fleets, MemoryFleets])
def fleets(request: pytest.FixtureRequest):
    made: Fleets = request.param(*map(request.getfixturevalue, request.param.needs))
    yield made
    fleet = made.open()
    fleet.terminate([instance.id for instance in fleet.instances()])
    made.pass_time(150)
    eventually(lambda: all(instance.state == "gone" for instance in fleet.instances()))


def eventually(condition: Callable[[], object], *, within_s: float = 120) -> None:
    """Wait until `condition` holds; fail where it never does."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it never came to hold"
        time.sleep(0.01)


@pytest.fixture(name="eventually")
def _eventually() -> Callable[..., None]:
    return eventually
