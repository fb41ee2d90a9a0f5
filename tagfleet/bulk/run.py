"""Tag the objects of a listing.

1. List a portion of objects. Send its jobs while the queue is short. When all its results are in the store, write them
   as one Parquet file.
2. Every step is recorded in the store, so a new `BucketRun` over the same state resumes where the last one stopped.
3. Workers pack many results into one object. Results are counted by listing these objects, whose keys say what they
   hold. They are read only when a portion is complete.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from core.errors import Misconfigured, Unavailable
from core.storage.ports import Depth, ObjectStore, Queue
from core.util.backoff import compute_backoff
from tagfleet.bulk.jobs import send_jobs
from tagfleet.bulk.listing import ListedObject, Listing, looks_like_image
from tagfleet.bulk.parquet_files import as_parquet, save_results
from tagfleet.bulk.poll_interval import PollInterval
from tagfleet.bulk.results import Results
from tagfleet.bulk.state import Portion, RunFile

PORTION = 10_000
"""Objects that are listed, sent and written together. They are held in memory at once."""
CHUNK = 1000
"""Jobs sent between two records of progress, but never more than half of the lead. At most this many are sent twice
after a kill."""
_LOOKED_AT = 50
"""At most this many times the portion's size are listed for one portion, if few of the objects are images."""
_FIRST_PAUSE_S = 1.0
_RESEND_AFTER_S = 180.0
_LONGEST_PAUSE_S = 30.0


@dataclass(frozen=True)
class RunSetup:
    """The store, queue and sizes of a run. `clock` gives Unix seconds; tests use smaller portions and chunks."""

    store: ObjectStore
    queue: Queue
    clock: Callable[[], float]
    lead: int
    """The run sends no more jobs while this many wait."""
    folder: Path | None = None
    """Where the Parquet files go; None: into the store."""
    portion: int = PORTION
    chunk: int = CHUNK


class BucketRun:
    """One run. Call `step` until `finished`, or let `drive` do it."""

    def __init__(self, file: RunFile, listing: Listing, setup: RunSetup) -> None:
        self._file = file
        self._listing = listing
        self._setup = setup
        self._following: Iterator[ListedObject] | None = None
        self._current: tuple[int, Portion] | None = None
        self._sizes: dict[int, int] = {}
        self._results = Results(setup.store, file.run_id)
        self._fresh = True  # until this process has sent its first chunk: an earlier process may have sent it already
        self._accepted: set[int] = set()  # positions that the queue has, and that the progress does not say are sent
        self._depth: Depth | None = None
        self._sent_since = 0  # jobs sent since the queue gave its depth
        self._progress_at = time.monotonic()
        self._poll_interval = PollInterval()
        self.resend_after_s = _RESEND_AFTER_S

    # --- progress -----------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        """Whether everything is tagged and written."""
        return self._file.state.finished_at is not None

    @property
    def done(self) -> int:
        """Images with a result, as far as is known."""
        return self._file.state.done + self._results.counted

    @property
    def total(self) -> int | None:
        """Number of images; None until all are listed."""
        state = self._file.state
        if not state.listed or state.sending < state.portions:
            return None
        return state.sent + (self._size(state.sending) - state.offset if state.sending == state.portions else 0)

    @property
    def pause_s(self) -> float:
        """Seconds to wait before the next look at the progress."""
        return self._poll_interval.pause_s

    @property
    def waits_for(self) -> str:
        """A problem that an operator should look at; empty if there is none."""
        if self._depth is None or self._depth.outstanding or not self._depth.dead or not self._in_hand:
            return ""
        return (
            f"{self._in_hand} images have no result, and only {self._depth.dead} dead letters are left in the queue: "
            "the collector turns them into failures, or send them again with `tagfleet dead-letters redrive`"
        )

    @property
    def _stuck(self) -> bool:
        """Whether images are neither done, nor in the queue, nor among its dead letters."""
        return bool(self._in_hand and self._depth and not self._depth.outstanding and not self._depth.dead)

    @property
    def _in_hand(self) -> int:
        return max(0, self._file.state.sent - self.done)

    # --- steps --------------------------------------------------------------------------------

    def step(self) -> bool:
        """Do the next thing that can be done. Return False if there is nothing to do but wait.

        Raises BadListing, RunTaken, Unavailable. Nothing is lost then; call it again.
        """
        return self._gather() or self._send() or self._finish()

    def refresh(self) -> None:
        """Count the results in the store. Raises Unavailable."""
        began = time.monotonic()
        known = self.done
        state = self._file.state
        self._depth, self._sent_since = self._setup.queue.depth(), 0
        for number in range(state.gathered + 1, min(state.portions, state.sending) + 1):
            self._results.count(number)
        now = time.monotonic()
        self._poll_interval.record(self.done, self._in_hand, now - began)
        if self.done != known:
            self._progress_at = now
        elif self._stuck and now - self._progress_at > self.resend_after_s:
            self._send_missing(state.gathered + 1)
            self._progress_at = now

    def _gather(self) -> bool:
        state = self._file.state
        number = state.gathered + 1
        if number > state.portions or number > state.sending:
            return False
        size = self._size(number)
        sent = size if number < state.sending else state.offset
        if sent < size or not self._results.complete(number, size):
            return False
        failed = 0
        if size:
            uris = self._portion(number).uris
            results = self._results.read(number, uris)
            if results is None:
                self._results.forget(number)
                return False
            save_results(self._setup.store, self._file.run_id, number, as_parquet(uris, results), self._setup.folder)
            failed = sum(not result.ok for result in results)
        finished_at = self._setup.clock() if state.listed and number == state.portions else None
        self._file.change(
            gathered=number, done=state.done + size, failed=state.failed + failed, finished_at=finished_at
        )
        self._results.forget(number)
        self._sizes.pop(number, None)
        return True

    def _send(self) -> bool:
        state = self._file.state
        if state.sending > state.portions:
            return self._list()
        portion = self._portion(state.sending)
        if state.offset == len(portion.uris):
            if state.sending == state.portions and state.listed:
                return False
            self._file.change(sending=state.sending + 1, offset=0)
            return True
        until = min(state.offset + self._setup.chunk, state.offset + max(1, self._setup.lead // 2), len(portion.uris))
        if self._room() < until - state.offset:
            return False
        wanted = range(state.offset, until)
        before = self._sent_before(state.sending, wanted) | self._accepted
        self._send_jobs(state.sending, [at for at in wanted if at not in before], self._accepted)
        self._file.change(offset=until, sent=state.sent + len(wanted))
        self._accepted.clear()
        self._fresh = False
        return True

    def _room(self) -> int:
        """Return how many jobs may be sent. The queue's count lags, and is asked for only in `refresh`."""
        if self._depth is None:
            self._depth = self._setup.queue.depth()
        return self._setup.lead - max(self._depth.outstanding + self._sent_since, self._in_hand)

    def _sent_before(self, number: int, positions: range) -> set[int]:
        """Return positions that already have a result. Only the first chunk of a resumed run can have any."""
        if not self._fresh or not self._file.resumed:
            return set()
        return self._results.positions(number) & set(positions)

    def _send_missing(self, number: int) -> None:
        """Send again the jobs of a portion that were sent and have no result."""
        state = self._file.state
        size = state.offset if number == state.sending else self._size(number)
        there = self._results.positions(number)
        self._send_jobs(number, [at for at in range(size) if at not in there], set())

    def _send_jobs(self, number: int, positions: list[int], accepted: set[int]) -> None:
        uris = self._portion(number).uris
        before = len(accepted)
        try:
            send_jobs(self._setup.queue, self._file, number, uris, positions, accepted, self._setup.clock)
        finally:
            self._sent_since += len(accepted) - before

    def _list(self) -> bool:
        state = self._file.state
        if state.listed:
            return False
        try:
            if self._following is None:
                self._following = self._listing.after(state.cursor)
            taken = next_portion(self._following, self._setup.portion, state.cursor, everything=state.everything)
            portion = self._file.keep_portion(state.portions + 1, taken)
            passed_over = state.passed_over + portion.passed_over
            self._file.change(
                portions=state.portions + 1, cursor=portion.cursor, listed=portion.last, passed_over=passed_over
            )
            self._keep_current(self._file.state.portions, portion)
        except BaseException:
            self._following = None  # nothing has recorded what the iterator gave
            raise
        if portion != taken:
            self._following = None  # an earlier process listed something else
        return True

    def _finish(self) -> bool:
        state = self._file.state
        if state.listed and state.gathered == state.portions and not self.finished:
            self._file.change(finished_at=self._setup.clock())
            return True
        return False

    def _portion(self, number: int) -> Portion:
        if self._current is None or self._current[0] != number:
            portion = self._file.portion(number)
            self._keep_current(number, portion)
            return portion
        return self._current[1]

    def _keep_current(self, number: int, portion: Portion) -> None:
        """Keep the portion if it is being sent, and its size in any case."""
        self._sizes[number] = len(portion.uris)
        if number == self._file.state.sending:
            self._current = (number, portion)

    def _size(self, number: int) -> int:
        if number not in self._sizes:
            self._sizes[number] = len(self._portion(number).uris)
        return self._sizes[number]


def next_portion(following: Iterator[ListedObject], most: int, cursor: str, *, everything: bool) -> Portion:
    """Take the next portion from a listing: all objects, or only those whose addresses look like images."""
    uris: list[str] = []
    looked_at = 0
    for found in following:
        looked_at += 1
        cursor = found.cursor
        if everything or looks_like_image(found.uri):
            uris.append(found.uri)
        if len(uris) == most or looked_at == _LOOKED_AT * most:
            return Portion(uris=tuple(uris), passed_over=looked_at - len(uris), cursor=cursor, last=False)
    return Portion(uris=tuple(uris), passed_over=looked_at - len(uris), cursor=cursor, last=True)


def drive(
    run: BucketRun, show: Callable[[BucketRun], None], say: Callable[[str], None], wait: Callable[[float], object]
) -> None:
    """Run to the end. Retry after failures of store and queue for ever, with growing pauses; `say` reports the first.

    Raises BadListing, RunTaken, Misconfigured.
    """
    failures = 0
    while not run.finished:
        try:
            moved = run.step()
            if not moved:
                run.refresh()
                moved = run.step()
            show(run)
        except Misconfigured:
            raise
        except Unavailable as error:
            if not failures:
                say(f"{error}; trying again")
            wait(compute_backoff(failures, base_s=_FIRST_PAUSE_S, cap_s=_LONGEST_PAUSE_S))
            failures += 1
            continue
        failures = 0
        if not moved:
            wait(run.pause_s)
