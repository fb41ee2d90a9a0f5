"""Run one load test from start to end. It ends by itself, at the latest when the plan's time is up."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from tagfleet.client import Batch, Client, ClientError, Patience
from tagfleet.loadtest.photos import Photos
from tagfleet.loadtest.plan import LoadPlan, Start
from tagfleet.loadtest.record import LoadRun, Photo, Sample
from tagfleet.loadtest.sending import PhotoLog, Sender
from tagfleet.loadtest.watching import Listener, Watcher, wait_for_no_worker

_POLL_S = 0.1
_WARM_UP = 16
_WARM_UP_S = 300.0
_FAREWELL_S = 10.0


class Progress(Protocol):
    """Receives the progress of a run from time to time, from one thread."""

    def say(self, line: str) -> None: ...
    def show(self, photos: Sequence[Photo], sample: Sample | None) -> None: ...


@dataclass(frozen=True)
class Target:
    """The service under test. A cold start waits up to `cold_s` seconds for the last worker to end."""

    url: str
    api_key: str | None = None
    cold_s: float = 600.0

    def client(self, connections: int = 3, *, patience: Patience | None = None) -> Client:
        return Client(self.url, api_key=self.api_key, connections=connections, patience=patience)


def perform(target: Target, plan: LoadPlan, progress: Progress, *, delete: bool = False) -> LoadRun:
    """Send the photos, wait for their tags, and return the record. Raises ClientError, LoadTestError, OSError.

    Missing answers are part of the record, not errors. `delete` removes the test's batches afterwards.
    """
    with target.client() as control:
        taggers = {model["pool"]: model["serves"] for model in control.models()}
        photos = Photos(plan)
        _prepare(control, target, plan, progress)
        batches = [control.create_batch(plan.tagger) for _ in range(min(plan.batches, plan.count))]
        try:
            run = _ActiveRun(target, plan, progress, photos, batches).run()
        finally:
            _leave(control, batches, delete)
    return run.model_copy(update={"url": control.url, "taggers": taggers})


def _prepare(control: Client, target: Target, plan: LoadPlan, progress: Progress) -> None:
    if plan.start is Start.COLD:
        wait_for_no_worker(control, target.cold_s, progress.say)
    elif plan.start is Start.WARM:
        progress.say("warming up")
        warm = plan.model_copy(update={"count": _WARM_UP, "rate": None, "seconds": _WARM_UP_S})
        batch = control.create_batch(plan.tagger)
        try:
            run = _ActiveRun(target, warm, progress, Photos(warm, prefix="warm-up"), [batch]).run()
        finally:
            _leave(control, [batch], delete=True)
        if errors := {photo.error for photo in run.photos if photo.error}:
            progress.say(f"errors while warming up: {', '.join(sorted(errors))}")


def _leave(control: Client, batches: Sequence[Batch], delete: bool) -> None:
    """Cancel unfinished batches, so that a test leaves no work behind. Delete them too if asked to."""
    for batch in batches:
        try:
            if control.batch(batch).completed_at is None:
                control.cancel(batch)
            if delete:
                control.delete(batch)
        except ClientError:
            continue  # the service or the batch is gone, so nothing is left to end


class _ActiveRun:
    """A run while its clock is running."""

    def __init__(
        self, target: Target, plan: LoadPlan, progress: Progress, photos: Photos, batches: Sequence[Batch]
    ) -> None:
        self._plan = plan
        self._progress = progress
        self._batches = batches
        self._content = iter(photos)
        self._target = target
        self._notices: list[str] = []
        self._began = time.perf_counter()
        self._log = PhotoLog(self._clock)

    def _clock(self) -> float:
        return time.perf_counter() - self._began

    def run(self) -> LoadRun:
        with (
            self._target.client(self._plan.concurrency, patience=Patience(total_s=0)) as sending,
            self._target.client(len(self._batches)) as hearing,
        ):
            began_at_unix, self._began = time.time(), time.perf_counter()
            listeners = [Listener(hearing, batch, self._log) for batch in self._batches]
            watcher = Watcher(hearing, self._clock)
            sender = Sender(sending, self._plan, self._content, self._batches, self._log)
            for part in (*listeners, watcher):
                part.start()
            cpu = time.process_time()
            interrupted = False
            try:
                sender.start()
                self._wait(lambda: sender.sending, watcher)
                cpu_seconds = time.process_time() - cpu
                sender.stop()
                sending.disconnect()  # requests still in progress are too late
                for batch in self._batches:
                    hearing.close(batch)
                self._wait(lambda: any(listener.is_alive() for listener in listeners), watcher)
            except KeyboardInterrupt:
                interrupted = True
                cpu_seconds = time.process_time() - cpu
                sender.stop()
                sending.disconnect()
            watcher.end()
            hearing.disconnect()
            for listener in listeners:
                listener.join(_FAREWELL_S)
        if sender.failure:
            raise sender.failure
        return LoadRun(
            plan=self._plan,
            began_at_unix=began_at_unix,
            url=self._target.url,
            photos=self._settled(),
            samples=watcher.samples,
            boots=watcher.boots,
            cpu_seconds=cpu_seconds,
            interrupted=interrupted,
            notices=[*self._notices, *filter(None, [watcher.notice, *(listener.notice for listener in listeners)])],
        )

    def _wait(self, going_on: Callable[[], bool], watcher: Watcher) -> None:
        """Wait while `going_on`, until the time is up."""
        while going_on() and self._clock() < self._plan.seconds:
            self._show(watcher)
            time.sleep(_POLL_S)
        self._show(watcher)

    def _show(self, watcher: Watcher) -> None:
        self._progress.show(self._log.photos, watcher.samples[-1] if watcher.samples else None)

    def _settled(self) -> list[Photo]:
        """Return the photos that left. A photo without an outcome gets an error that says so."""
        photos = [photo for photo in self._log.photos if photo.sent is not None or photo.error]
        for photo in photos:
            if photo.tagged is None and photo.error is None:
                photo.error = "no tags in time" if photo.accepted is not None else "not accepted in time"
        if unsent := self._plan.count - len(photos):
            self._notices.append(f"{unsent} of {self._plan.count} photos were not sent before the time was up")
        return photos
