"""One load test from its beginning to its end. It ends by itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from tagfleet.client import Batch, Client, ClientError, Patience
from tagfleet.loadtest.photos import Photos
from tagfleet.loadtest.plan import Plan, Start
from tagfleet.loadtest.record import Photo, Run, Sample
from tagfleet.loadtest.sending import Book, Sender
from tagfleet.loadtest.watching import Listener, Watcher, wait_for_no_worker

_LOOK_S = 0.1
_WARM_UP = 16
_WARM_UP_S = 300.0
_FAREWELL_S = 10.0


class Progress(Protocol):
    """Told of a run, now and then, from one thread."""

    def say(self, line: str) -> None: ...
    def show(self, photos: Sequence[Photo], sample: Sample | None) -> None: ...


@dataclass(frozen=True)
class Target:
    """The service to be tested. A test from cold waits up to `cold_s` seconds for the last worker to end."""

    url: str
    api_key: str | None = None
    cold_s: float = 600.0

    def client(self, connections: int = 3, *, patience: Patience | None = None) -> Client:
        return Client(self.url, api_key=self.api_key, connections=connections, patience=patience)


def perform(target: Target, plan: Plan, progress: Progress, *, delete: bool = False) -> Run:
    """Send the photos, wait for their tags, write down what happened. Raises ClientError, LoadTestError, OSError.

    What does not answer is in the run, and no error. With `delete` the test's batches are deleted afterwards.
    """
    with target.client() as control:
        taggers = {model["pool"]: model["serves"] for model in control.models()}
        photos = Photos(plan)
        _prepare(control, target, plan, progress)
        batches = [control.create_batch(plan.tagger) for _ in range(min(plan.batches, plan.count))]
        try:
            run = _Performance(target, plan, progress, photos, batches).run()
        finally:
            _leave(control, batches, delete)
    return run.model_copy(update={"url": control.url, "taggers": taggers})


def _prepare(control: Client, target: Target, plan: Plan, progress: Progress) -> None:
    if plan.start is Start.COLD:
        wait_for_no_worker(control, target.cold_s, progress.say)
    elif plan.start is Start.WARM:
        progress.say("warming up")
        warm = plan.model_copy(update={"count": _WARM_UP, "rate": None, "seconds": _WARM_UP_S})
        batch = control.create_batch(plan.tagger)
        try:
            run = _Performance(target, warm, progress, Photos(warm, prefix="warm-up"), [batch]).run()
        finally:
            _leave(control, [batch], delete=True)
        if errors := {photo.error for photo in run.photos if photo.error}:
            progress.say(f"warming up did not go well: {', '.join(sorted(errors))}")


def _leave(control: Client, batches: Sequence[Batch], delete: bool) -> None:
    """End what is left of the batches: a test leaves no work behind."""
    for batch in batches:
        try:
            if control.batch(batch).completed_at is None:
                control.cancel(batch)
            if delete:
                control.delete(batch)
        except ClientError:
            continue  # the service is gone, or another deleted it first: there is nothing left to end


class _Performance:
    """The part of a run with its clock ticking."""

    def __init__(
        self, target: Target, plan: Plan, progress: Progress, photos: Photos, batches: Sequence[Batch]
    ) -> None:
        self._plan = plan
        self._progress = progress
        self._batches = batches
        self._content = iter(photos)
        self._target = target
        self._notices: list[str] = []
        self._began = time.perf_counter()
        self._book = Book(self._clock)

    def _clock(self) -> float:
        return time.perf_counter() - self._began

    def run(self) -> Run:
        with (
            self._target.client(self._plan.concurrency, patience=Patience(total_s=0)) as sending,
            self._target.client(len(self._batches)) as hearing,
        ):
            began_at_unix, self._began = time.time(), time.perf_counter()
            listeners = [Listener(hearing, batch, self._book) for batch in self._batches]
            watcher = Watcher(hearing, self._clock)
            sender = Sender(sending, self._plan, self._content, self._batches, self._book)
            for part in (*listeners, watcher):
                part.start()
            cpu = time.process_time()
            interrupted = False
            try:
                sender.start()
                self._wait(lambda: sender.sending, watcher)
                cpu_seconds = time.process_time() - cpu
                sender.stop()
                sending.disconnect()  # what is still under way now is too late
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
        return Run(
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
        """Until it no longer goes on, or the time is up."""
        while going_on() and self._clock() < self._plan.seconds:
            self._show(watcher)
            time.sleep(_LOOK_S)
        self._show(watcher)

    def _show(self, watcher: Watcher) -> None:
        self._progress.show(self._book.photos, watcher.samples[-1] if watcher.samples else None)

    def _settled(self) -> list[Photo]:
        """The photos that left; those whose end nobody saw say so."""
        photos = [photo for photo in self._book.photos if photo.sent is not None or photo.error]
        for photo in photos:
            if photo.tagged is None and photo.error is None:
                photo.error = "no tags in time" if photo.accepted is not None else "not accepted in time"
        if unsent := self._plan.count - len(photos):
            self._notices.append(f"{unsent} of {self._plan.count} photos were not sent in the time that the test had")
        return photos
