"""A worker's life in the roster: boot, service, and each way to end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import pytest

from app_tier.taggers import TaggerHandle
from app_tier.worker.heartbeats import Identity
from app_tier.worker.worker import Hung, Worker, process_started_at
from bench.deployment import wait_until
from config.settings import Settings
from core.errors import Unavailable, WeightsMissing
from core.fleet.roster import Heartbeat, Roster, WorkerState
from core.storage import layout
from core.storage.ports import Etag, Machine
from core.wiring import Backend


class Life:
    """A worker in a thread, and how it ended."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def start(self) -> Life:
        self._thread.start()
        return self

    def _run(self) -> None:
        try:
            self.worker.run()
        except BaseException as error:  # noqa: BLE001  # the test looks at it
            self.error = error

    def ended(self, timeout_s: float = 120) -> bool:
        self._thread.join(timeout_s)
        return not self._thread.is_alive()


Begin = Callable[..., Life]


@pytest.fixture
def begin(settings: Settings, tagger: Any) -> Iterator[Begin]:
    """Starts a worker with the colour tagger and short times; at the end each is drained."""
    begun: list[Life] = []

    def begin(
        *,
        managed: bool = True,
        machine: Machine | None = None,
        choose: Callable[[], TaggerHandle] | None = None,
        kind: type[Backend] = Backend,
        **changes: Any,
    ) -> Life:
        times = settings.worker.model_copy(update={"heartbeat_s": 0.05, **changes})
        pools = {"resnet50": settings.pools["resnet50"].model_copy(update={"tagger": "efficientnet-lite0"})}
        ours = settings.model_copy(update={"worker": times, "pools": pools})
        identity = Identity("w1", "resnet50", time.time(), managed)
        chosen = choose or (lambda: TaggerHandle(tagger.name, lambda: tagger))
        worker = Worker(identity, ours, kind(ours), time.time, lambda *_: chosen(), machine)
        begun.append(Life(worker).start())
        return begun[-1]

    yield begin
    for life in begun:
        life.worker.asked_to_drain.set()
        assert life.ended()


def beat(backend: Backend) -> Heartbeat | None:
    return next(iter(backend.roster.workers()), None)


def in_state(backend: Backend, state: WorkerState) -> Callable[[], bool]:
    def check() -> bool:
        seen = beat(backend)
        return seen is not None and seen.state is state

    return check


def test_boot_service_and_drain_are_reported(
    begin: Begin, backend: Backend, submit: Any, collect: Any, picture: Any
) -> None:
    life = begin()
    wait_until(in_state(backend, WorkerState.IDLE))
    ready = beat(backend)
    assert ready is not None
    assert ready.boot is not None
    phases = [ready.boot.process, ready.boot.imports, ready.boot.weights, ready.boot.first_inference, ready.boot.ready]
    assert phases == sorted(phases)
    assert str(ready.sizes) == ("batches of 8, at most 64 messages; threads: 1 receive, 2 fetch, 2 decode, 2 finish")
    for _ in range(20):
        submit(picture())
    collect(20)
    wait_until(lambda: (seen := beat(backend)) and seen.images_done == 20 and seen.held == 0)
    backend.roster.request_drain("w1")
    assert life.ended()
    last = beat(backend)
    assert last is not None
    assert (last.state, last.held, life.error) == (WorkerState.DRAINED, 0, None)
    assert last.seq > ready.seq
    assert last.busy_seconds > 0


def test_a_worker_without_a_living_controller_drains_itself(begin: Begin, backend: Backend) -> None:
    life = begin(abandoned_s=0.3)
    assert life.ended()
    assert in_state(backend, WorkerState.DRAINED)()


class RenewedRoster(Roster):
    """Every read of the controller's lease finds it renewed; the lease counts the reads."""

    def controller_version(self) -> Etag | None:
        version = super().controller_version()
        looks = 0 if version is None else int(self._store.get(layout.CONTROLLER).data)
        self._store.put(layout.CONTROLLER, b"%d" % (looks + 1))
        return version


class Renewed(Backend):
    @cached_property
    def roster(self) -> Roster:
        return RenewedRoster(self.store)


def test_a_renewed_lease_keeps_a_worker(begin: Begin, backend: Backend) -> None:
    backend.store.put(layout.CONTROLLER, b"0")
    life = begin(abandoned_s=0.01, kind=Renewed)
    wait_until(lambda: int(backend.store.get(layout.CONTROLLER).data) >= 10)
    assert in_state(backend, WorkerState.IDLE)()
    assert not life.ended(0)


def test_a_worker_started_by_hand_needs_no_controller(begin: Begin, backend: Backend) -> None:
    life = begin(managed=False, abandoned_s=0.1)
    wait_until(in_state(backend, WorkerState.IDLE))
    assert not life.ended(1)


def test_a_hung_decode_ends_the_worker_and_releases_everything(
    begin: Begin, backend: Backend, submit: Any, picture: Any, tagger: Any
) -> None:
    release = threading.Event()

    def hang(_: Any) -> Any:
        release.wait(120)
        raise RuntimeError("released")

    tagger.preprocess = hang
    for _ in range(5):
        submit(picture())
    life = begin(decode_timeout_s=0.2)
    assert life.ended()
    assert isinstance(life.error, Hung)
    assert "receive" not in {thread.name for thread in threading.enumerate()}, "it would take them up again"
    depth = backend.jobs("resnet50").depth()
    assert (depth.visible, depth.in_flight) == (5, 0)
    release.set()


def test_a_hung_tagger_ends_the_worker_and_releases_everything(
    begin: Begin, backend: Backend, submit: Any, picture: Any, tagger: Any
) -> None:
    release = threading.Event()

    def hang(*_: Any) -> Any:
        release.wait(120)
        raise RuntimeError("released")

    tagger.infer = hang
    for _ in range(5):
        submit(picture())
    life = begin(infer_timeout_s=0.2)
    assert life.ended()
    assert isinstance(life.error, Hung)
    last = beat(backend)
    assert last is not None
    assert last.ended_by == "the tagger hangs: this worker ends and releases its messages"
    depth = backend.jobs("resnet50").depth()
    assert (depth.visible, depth.in_flight) == (5, 0)
    release.set()


def test_a_long_drain_has_heartbeats_as_often_as_service(
    begin: Begin, backend: Backend, submit: Any, collect: Any, picture: Any, tagger: Any
) -> None:
    preprocess, begun, release = tagger.preprocess, threading.Event(), threading.Event()

    def slow(image: Any) -> Any:
        begun.set()
        release.wait(120)
        return preprocess(image)

    tagger.preprocess = slow
    submit(picture())
    life = begin(heartbeat_s=30.0)
    assert begun.wait(120)
    life.worker.asked_to_drain.set()
    wait_until(in_state(backend, WorkerState.DRAINING))
    told = beat(backend)
    assert not life.ended(1)
    assert beat(backend) == told
    release.set()
    collect(1)
    assert life.ended()
    assert in_state(backend, WorkerState.DRAINED)()


def test_a_stage_that_fails_ends_the_worker_with_its_error(
    begin: Begin, backend: Backend, submit: Any, picture: Any, tagger: Any
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("out of order")

    tagger.infer = broken
    submit(picture())
    life = begin()
    assert life.ended()
    assert str(life.error) == "out of order"
    assert beat(backend).ended_by == "RuntimeError: out of order"
    wait_until(lambda: backend.jobs("resnet50").depth().visible == 1)


def test_a_process_knows_when_it_was_started() -> None:
    now = time.time()
    assert now - 86_400 < process_started_at(now) <= now + 0.1


def test_a_boot_that_fails_says_why(settings: Settings, backend: Backend) -> None:
    pools = {"resnet50": settings.pools["resnet50"].model_copy(update={"fallback": ""})}
    ours = settings.model_copy(update={"pools": pools})
    worker = Worker(Identity("w2", "resnet50", time.time(), managed=True), ours, backend, time.time)
    with pytest.raises(WeightsMissing):
        worker.run()
    seen = beat(backend)
    assert seen is not None
    assert "the weights of resnet50 are missing" in seen.notice


def test_a_boot_that_fails_by_an_unexpected_error_says_why(settings: Settings, backend: Backend) -> None:
    def broken() -> Any:
        raise ZeroDivisionError("no such device")

    pools = {"resnet50": settings.pools["resnet50"].model_copy(update={"tagger": "efficientnet-lite0"})}
    ours = settings.model_copy(update={"pools": pools})
    with pytest.raises(ZeroDivisionError):
        Worker(
            Identity("w3", "resnet50", time.time(), managed=True),
            ours,
            backend,
            time.time,
            lambda *_: TaggerHandle("w", broken),
        ).run()
    seen = beat(backend)
    assert seen is not None
    assert seen.notice == "ZeroDivisionError: no such device"


class Rented:
    """A machine that does not answer before `say`."""

    id, launched_at = "w1", 0.0

    def __init__(self, risk: str = "") -> None:
        self._told = threading.Event()
        self._answer: str | Unavailable = ""
        self._risk = risk

    def notice(self) -> str:
        assert self._told.wait(120)
        if isinstance(self._answer, Unavailable):
            raise self._answer
        return self._answer

    def risk(self) -> str:
        return self._risk

    def say(self, answer: str | Unavailable) -> None:
        self._answer = answer
        self._told.set()


def test_a_worker_whose_machine_is_taken_away_drains_at_once_and_says_why(
    begin: Begin, backend: Backend, submit: Any, collect: Any, picture: Any
) -> None:
    machine = Rented()
    life = begin(machine=machine, heartbeat_s=0.05)
    wait_until(in_state(backend, WorkerState.IDLE))
    submit(picture())
    collect(1)  # the answer that does not come stalls nothing
    machine.say("EC2 ends this spot instance at 12:03:10Z")
    assert life.ended()
    last = beat(backend)
    assert last is not None
    assert (last.state, last.leaving) == (WorkerState.DRAINED, "EC2 ends this spot instance at 12:03:10Z")
    assert life.error is None


def test_a_machine_that_is_taken_away_during_boot_says_so_at_once(begin: Begin, backend: Backend, tagger: Any) -> None:
    machine, loaded = Rented(), threading.Event()

    def slow() -> Any:
        assert loaded.wait(120)
        return tagger

    life = begin(machine=machine, choose=lambda: TaggerHandle("slow", slow))
    wait_until(in_state(backend, WorkerState.WARMING))
    machine.say("EC2 ends this spot instance at 12:03:10Z")
    wait_until(lambda: bool((seen := beat(backend)) and seen.leaving))
    loaded.set()
    assert life.ended()


def test_a_machine_at_risk_keeps_working_and_says_so(
    begin: Begin, backend: Backend, submit: Any, collect: Any, picture: Any
) -> None:
    machine = Rented(risk="EC2 may soon end this spot instance")
    machine.say("")
    life = begin(machine=machine, heartbeat_s=0.05)
    wait_until(lambda: bool((seen := beat(backend)) and seen.at_risk))
    submit(picture())
    collect(1)
    seen = beat(backend)
    assert seen is not None
    assert (seen.at_risk, seen.leaving) == ("EC2 may soon end this spot instance", "")
    assert seen.state.ready
    assert not life.ended(0)


def test_a_new_version_serves_without_a_restart_and_without_losing_an_image(
    begin: Begin, backend: Backend, submit: Any, collect: Any, picture: Any, tagger: Any
) -> None:
    class Newer(type(tagger)):  # type: ignore[misc]  # whatever the fixture gives
        version = "colour@2"

    default = [TaggerHandle("colour@1", lambda: tagger, current=lambda: default[0].name == "colour@1")]
    life = begin(choose=lambda: default[0], reload_s=0.05)
    submit(picture())
    (before,) = collect(1).values()
    default[0] = TaggerHandle("colour@2", Newer)
    wait_until(lambda: (seen := beat(backend)) is not None and seen.tagger == "colour@2")
    submit(picture())
    (after,) = collect(1).values()
    assert (before.tagger, after.tagger) == ("colour@1", "colour@2")
    assert not life.ended(0)


def test_a_machine_that_does_not_answer_keeps_working(
    begin: Begin, backend: Backend, submit: Any, collect: Any, picture: Any
) -> None:
    machine = Rented()
    machine.say(Unavailable("no answer"))
    begin(machine=machine)
    submit(picture())
    collect(1)
    seen = beat(backend)
    assert seen is not None
    assert (seen.leaving, seen.notice) == ("", "")
