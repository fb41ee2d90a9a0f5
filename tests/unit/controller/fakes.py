"""A small world in memory: a store, queues and a fleet whose workers boot, work, drain and die on a clock of their own.

Each call of a port passes `World.call`, where a test may have it fail, or have the controller die before or after it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from config.settings import ControllerSettings
from controller.loop import Controller, Ports
from core.errors import Unavailable
from core.fleet.roster import BootTimings, Heartbeat, Roster, WorkerState
from core.storage.memory import MemoryStore
from core.storage.ports import (
    PROCESS,
    Blob,
    Cause,
    Condition,
    Depth,
    Etag,
    Instance,
    InstanceState,
    Launch,
    ObjectInfo,
    Offering,
    UploadForm,
)
from core.util.clock import Clock


class Crash(BaseException):
    """The controller's process is gone: nothing in it may catch this."""


class FakeStore:
    """`objects`, each call by way of the world."""

    def __init__(self, world: World) -> None:
        self.world = world

    def put(
        self,
        key: str,
        data: bytes | BinaryIO,
        *,
        content_type: str = "application/octet-stream",
        condition: Condition | None = None,
    ) -> Etag:
        with self.world.call("put", key):
            return self.world.objects.put(key, data, content_type=content_type, condition=condition)

    def get(self, key: str) -> Blob:
        with self.world.call("get", key):
            return self.world.objects.get(key)

    def copy(self, source: str, target: str) -> Etag:
        with self.world.call("copy", source, target):
            return self.world.objects.copy(source, target)

    def list(self, prefix: str, start_after: str = "") -> Iterator[ObjectInfo]:
        with self.world.call("list", prefix):
            return iter(list(self.world.objects.list(prefix, start_after)))

    def delete(self, keys: Sequence[str]) -> None:
        with self.world.call("delete", *keys):
            self.world.objects.delete(keys)

    def upload_form(self, key: str, *, content_type: str, max_bytes: int, expires_s: int) -> UploadForm | None:
        return None


class FakeQueue:
    """Counts only: the controller reads nothing but the depth."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self._name = name
        self.visible = 0
        self.hidden = 0
        self.dead = 0

    @property
    def name(self) -> str:
        return self._name

    def depth(self) -> Depth:
        with self.world.call("depth", self._name):
            return Depth(self.visible, self.hidden, 0, self.dead, self.world.now)


@dataclass
class FakeWorker:
    """An instance and the process in it."""

    id: str
    pool: str
    token: str
    launched_at: float
    alive: bool = True
    stopping: bool = False
    offering: Offering = PROCESS
    hung: bool = False
    halted: bool = False
    """The machine was stopped by somebody: it stands still."""
    leaving: str = ""
    at_risk: str = ""
    doomed: bool = False
    """Dies before it is ready."""
    breaks: bool = False
    """An error ends it in its first batch."""
    beat: Heartbeat | None = None
    held: int = 0
    done: int = 0

    @property
    def instance(self) -> Instance:
        state = InstanceState.GONE if not self.alive else InstanceState.RUNNING
        if self.halted and self.alive:
            state = InstanceState.STOPPED
        if self.alive and self.stopping:
            state = InstanceState.STOPPING
        what = self.offering
        return Instance(
            self.id, self.pool, state, self.launched_at, self.token, what.market, what.type, what.zone, what.price
        )

    @property
    def busy(self) -> bool:
        return self.alive and not self.hung and self.held > 0


@dataclass
class FakeFleet:
    world: World
    workers: dict[str, FakeWorker] = field(default_factory=dict)
    listed: bool = True
    """Where not, new instances are not listed yet."""
    room: int = 1000
    """Beyond so many the fleet has no capacity."""
    menu: list[Offering] = field(default_factory=lambda: [PROCESS])
    """What there is to be had, best first."""
    sold_out: set[Offering] = field(default_factory=set)
    """Have no capacity now."""
    silent: set[Offering] = field(default_factory=set)
    """Are asked for without an answer."""
    aside: dict[Offering, float] = field(default_factory=dict)
    """When those that were asked for in vain may be asked for again."""
    refusal: str = ""
    """Why every launch is refused until somebody mends it."""
    launches: list[tuple[str, int, str]] = field(default_factory=list)
    requests: dict[str, set[tuple[str, int, Offering]]] = field(default_factory=dict)
    """What was asked for with each token."""
    killed_busy: list[str] = field(default_factory=list)

    def instances(self) -> list[Instance]:
        with self.world.call("instances"):
            return [one.instance for one in self.workers.values() if self.listed or one.launched_at < self.world.now]

    def offerings(self, pool: str) -> list[Offering]:
        with self.world.call("offerings", pool):
            return [one for one in self.menu if self.aside.get(one, 0.0) <= self.world.now]

    def launch(self, pool: str, count: int, token: str, offering: Offering = PROCESS) -> Launch:
        with self.world.call("launch", pool, str(count), token):
            if offering in self.silent:
                raise Unavailable(f"cannot launch {offering}: AWS has trouble of its own (InternalError)")
            again = [one.instance for one in self.workers.values() if one.token == token]
            self.requests.setdefault(token, set()).add((pool, count, offering))
            if again:
                return Launch(again, count - len(again), "no capacity" if len(again) < count else "")
            self.launches.append((pool, count, token))
            if self.refusal:
                return Launch([], count, self.refusal, Cause.LASTING)
            if offering in self.sold_out:
                self.aside[offering] = self.world.now + 180.0
                return Launch([], count, f"no capacity for {offering}", Cause.CAPACITY)
            fits = max(0, min(count, self.room - len(self.alive)))
            born = self.world.now
            new = [FakeWorker(f"{token}-{n}", pool, token, born, offering=offering) for n in range(fits)]
            self.workers |= {one.id: one for one in new}
            return Launch([one.instance for one in new], count - fits, "no capacity" if fits < count else "")

    def set_aside(self, ids: Sequence[str]) -> None:
        for one in (self.workers[id_] for id_ in ids if id_ in self.workers):
            self.aside[one.offering] = self.world.now + 180.0

    def terminate(self, ids: Sequence[str]) -> None:
        with self.world.call("terminate", *ids):
            for one in (self.workers[id_] for id_ in ids if id_ in self.workers):
                if one.busy:
                    self.killed_busy.append(one.id)
                one.stopping = True

    @property
    def alive(self) -> list[FakeWorker]:
        return [one for one in self.workers.values() if one.alive]


class World:
    """`step(seconds)` lets the workers live; controllers come from `controller()`."""

    boot_s = 2.0
    batch = 8
    """Images a worker takes, and finishes, a second."""

    def __init__(self, settings: ControllerSettings, pools: Sequence[str] = ("resnet50",)) -> None:
        self.settings = settings
        self.now = 1_700_000_000.0
        self.calls: list[str] = []
        self.fuse: int | None = None
        """The controller dies at the call that brings this to 0."""
        self.fuse_after = False
        self.broken: set[str] = set()
        """Calls that answer Unavailable; a call is named by its verb, or its verb and first argument."""
        self.lost_answers: set[str] = set()
        """Calls that do their work and then answer Unavailable."""
        self.objects = MemoryStore(lambda: self.now)
        """What is in the store, without a call."""
        self.store = FakeStore(self)
        self.fleet = FakeFleet(self)
        self.queues = {pool: FakeQueue(self, f"jobs-{pool}") for pool in pools}
        self.configured = list(pools)
        self.roster = Roster(self.store)
        self._inside = 0

    def controller(self, **options: Any) -> Controller:
        ports = Ports(self.store, self.fleet, {pool: self.queues[pool] for pool in self.configured})
        return Controller(ports, self.settings, clock=Clock(lambda: self.now, lambda: self.now), **options)

    def call(self, *what: str) -> _Call:
        return _Call(self, what)

    @property
    def queue(self) -> FakeQueue:
        return next(iter(self.queues.values()))

    @property
    def outstanding(self) -> int:
        return sum(queue.visible + queue.hidden for queue in self.queues.values())

    def step(self, seconds: float = 1.0) -> None:
        """A worker boots, then takes and finishes a batch a step; it obeys drain wishes and SIGTERM after its batch."""
        self.now += seconds
        for one in self.fleet.alive:
            if one.hung:
                if one.stopping:
                    self.kill(one)
            elif one.doomed or (one.stopping and not one.beat):
                self.kill(one)
            elif one.beat or self.now - one.launched_at >= self.boot_s:
                self._work(one)

    def kill(self, one: FakeWorker) -> None:
        """What it held comes back to the queue."""
        queue = self.queues[one.pool]
        queue.visible, queue.hidden, one.held = queue.visible + one.held, queue.hidden - one.held, 0
        one.alive = False

    def freeze(self, one: FakeWorker) -> None:
        """Its machine was stopped: what it held comes back to the queue, and it never moves again."""
        queue = self.queues[one.pool]
        queue.visible, queue.hidden, one.held = queue.visible + one.held, queue.hidden - one.held, 0
        one.halted = one.hung = True

    def _work(self, one: FakeWorker) -> None:
        queue = self.queues[one.pool]
        if one.breaks and one.held:
            queue.visible, queue.hidden, one.held = queue.visible + one.held, queue.hidden - one.held, 0
            self.say(one, WorkerState.DRAINED, ended_by="RuntimeError: out of memory")
            return
        queue.hidden, one.done, one.held = queue.hidden - one.held, one.done + one.held, 0
        if one.beat and one.beat.state is WorkerState.DRAINED:
            one.alive = False
        elif one.stopping or self._wished(one):
            self.say(one, WorkerState.DRAINED)
        else:
            one.held = min(queue.visible, self.batch)
            queue.visible, queue.hidden = queue.visible - one.held, queue.hidden + one.held
            self.say(one, WorkerState.BUSY if one.held else WorkerState.IDLE)

    def _wished(self, one: FakeWorker) -> bool:
        with self.outside():
            return self.roster.drain_requested(one.id)

    def say(self, one: FakeWorker, state: WorkerState, ended_by: str = "") -> None:
        before = one.beat
        own_clock = self.now + 5_000  # nobody may compare it with theirs
        since = before.state_since if before and before.state is state else own_clock
        boot = self.boot_s
        one.beat = Heartbeat(
            worker_id=one.id,
            pool=one.pool,
            tagger="fake",
            state=state,
            seq=before.seq + 1 if before else 1,
            at=own_clock,
            state_since=since,
            started_at=one.launched_at,
            held=one.held,
            ended_by=ended_by,
            leaving=one.leaving,
            at_risk=one.at_risk,
            images_done=one.done,
            busy_seconds=one.done / self.batch,
            boot=BootTimings(process=boot, imports=boot, weights=boot, first_inference=boot, ready=boot),
        )
        with self.outside():
            self.roster.beat(one.beat)

    def outside(self) -> _Outside:
        """Calls in here are the workers' or the test's, not the controller's."""
        return _Outside(self)


class _Call:
    def __init__(self, world: World, what: tuple[str, ...]) -> None:
        self.world = world
        self.names = {what[0], " ".join(what[:2])}
        self.text = " ".join(what)

    def __enter__(self) -> None:
        if self.world._inside:
            return
        self.world.calls.append(self.text)
        if self.names & self.world.broken:
            raise Unavailable(f"{self.text}: not now")
        self._burn(after=False)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.world._inside or kind is not None:
            return
        self._burn(after=True)
        if self.names & self.world.lost_answers:
            raise Unavailable(f"{self.text}: the answer was lost")

    def _burn(self, *, after: bool) -> None:
        world = self.world
        if world.fuse is None or world.fuse_after is not after:
            return
        world.fuse -= 1
        if world.fuse <= 0:
            world.fuse = None
            raise Crash


class _Outside:
    def __init__(self, world: World) -> None:
        self.world = world

    def __enter__(self) -> None:
        self.world._inside += 1

    def __exit__(self, *_: object) -> None:
        self.world._inside -= 1
