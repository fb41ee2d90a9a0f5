"""Tags what a listing names: lists a portion, sends its jobs while the queue is short, gathers its results, and so on.

Whatever it is interrupted at, a new `Run` over the same state goes on there. Results are counted by listing them from
the last one that is known, a request for each thousand, and never asked for one by one before they are all there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from core.domain.addresses import split_address
from core.domain.messages import MAX_NAME, Job, encode
from core.errors import Misconfigured, PartialSend, Unavailable
from core.storage.ports import Depth, ObjectStore, Queue
from tagfleet.bulk.listing import Found, Listing, looks_like_image
from tagfleet.bulk.parts import as_parquet, keep
from tagfleet.bulk.results import Results, image_id
from tagfleet.bulk.state import Portion, RunFile

PORTION = 10_000
"""Objects that are listed, and then gathered, together: what is held in memory at once."""
CHUNK = 500
"""Jobs that are sent between two notes of how far the run is: at most so many are sent twice after a kill."""
_LOOKED_AT = 50
"""Times a portion's size: so many objects are looked at for one portion, where few are images."""
_SEND_TRIES = 5
_POLL_S = 1.0
_RESEND_AFTER_S = 180.0
_LONGEST_PAUSE_S = 30.0


@dataclass(frozen=True)
class Parts:
    """What a run works with. A part of the results goes to `folder`, or into the store; `clock` gives Unix seconds."""

    store: ObjectStore
    queue: Queue
    clock: Callable[[], float]
    folder: Path | None = None


class Run:
    """`lead`: no more jobs are sent while so many wait. `portion` and `chunk` are smaller in tests."""

    def __init__(
        self, file: RunFile, listing: Listing, parts: Parts, *, lead: int, portion: int = PORTION, chunk: int = CHUNK
    ) -> None:
        self._file = file
        self._listing = listing
        self._parts = parts
        self._lead = lead
        self._most = portion
        self._chunk = chunk
        self._following: Iterator[Found] | None = None
        self._current: tuple[int, Portion] | None = None
        self._sizes: dict[int, int] = {}
        self._results = Results(parts.store, file.run_id)
        self._fresh = True  # what the process before this one sent last is not known
        self._depth: Depth | None = None
        self._news_at = time.monotonic()
        self.poll_s = _POLL_S

    # --- what it says of itself ---------------------------------------------------------------

    @property
    def finished(self) -> bool:
        return self._file.state.finished_at is not None

    @property
    def done(self) -> int:
        """Images with a result, as far as is known."""
        return self._file.state.done + self._results.counted

    @property
    def total(self) -> int | None:
        """Images in all; None until all are listed."""
        state = self._file.state
        if not state.listed or state.sending < state.portions:
            return None
        return state.sent + (self._size(state.sending) - state.offset if state.sending == state.portions else 0)

    @property
    def waits_for(self) -> str:
        """What somebody should look at; empty where all goes well."""
        if self._depth is None or self._depth.outstanding or not self._depth.dead or not self._in_hand:
            return ""
        return (
            f"{self._in_hand} images have no result, and nothing waits but {self._depth.dead} dead letters: "
            "the collector ends them, or `tagfleet dead-letters redrive`"
        )

    @property
    def _stuck(self) -> bool:
        """Whether images are neither done nor on the queue, nor among its dead letters."""
        return bool(self._in_hand and self._depth and not self._depth.outstanding and not self._depth.dead)

    @property
    def _in_hand(self) -> int:
        return max(0, self._file.state.sent - self.done)

    # --- steps --------------------------------------------------------------------------------

    def step(self) -> bool:
        """Do one thing that can be done now; False where there is nothing to do but to wait.

        Raises BadListing, RunTaken, Unavailable: then nothing is lost, and the step can be tried again.
        """
        return self._gather() or self._send() or self._finish()

    def refresh(self) -> None:
        """Count the results that are there. Raises Unavailable."""
        began = time.monotonic()
        known = self.done
        state = self._file.state
        self._depth = self._parts.queue.depth()
        for number in range(state.gathered + 1, min(state.portions, state.sending) + 1):
            self._results.count(number)
        now = time.monotonic()
        self.poll_s = max(_POLL_S, 10 * (now - began))
        if self.done != known:
            self._news_at = now
        elif self._stuck and now - self._news_at > _RESEND_AFTER_S:
            self._send_missing(state.gathered + 1)
            self._news_at = now

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
            results = self._results.of(number, uris)
            if results is None:
                self._results.forget(number)
                return False
            keep(self._parts.store, self._file.run_id, number, as_parquet(uris, results), self._parts.folder)
            failed = sum(not result.ok for result in results)
        self._file.change(gathered=number, done=state.done + size, failed=state.failed + failed)
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
        self._depth = self._parts.queue.depth()
        room = self._lead - max(self._depth.outstanding, self._in_hand)
        if room <= 0:
            return False
        until = min(state.offset + min(room, self._chunk), len(portion.uris))
        wanted = range(state.offset, until)
        before = self._sent_before(state.sending, wanted)
        self._send_jobs(state.sending, [at for at in wanted if at not in before])
        self._file.change(offset=until, sent=state.sent + len(wanted))
        self._fresh = False
        return True

    def _sent_before(self, number: int, positions: range) -> set[int]:
        """Those with a result, which only the first positions of a process that goes on with a run can have."""
        if not self._fresh or not self._file.resumed:
            return set()
        return set(islice(self._results.positions(number, positions.start), len(positions)))

    def _send_missing(self, number: int) -> None:
        """What was sent and is on no queue, for whatever reason, is sent once more."""
        state = self._file.state
        size = state.offset if number == state.sending else self._size(number)
        there = set(self._results.positions(number, 0))
        self._send_jobs(number, [at for at in range(size) if at not in there])

    def _send_jobs(self, number: int, positions: list[int]) -> None:
        uris, state, now = self._portion(number).uris, self._file.state, self._parts.clock()
        left = [
            encode(
                Job(
                    batch_id=self._file.run_id,
                    image_id=image_id(number, at),
                    key=uris[at],
                    name=split_address(uris[at])[1][-MAX_NAME:],
                    tagger=state.pool,
                    submitted_at=now,
                    options=state.options,
                    store_only=True,
                )
            )
            for at in positions
        ]
        for last in [False] * (_SEND_TRIES - 1) + [True]:
            if not left:
                return
            try:
                self._parts.queue.send(left)
            except PartialSend as error:
                left = [left[index] for index in error.unsent]
                if last:
                    raise
            else:
                return

    def _list(self) -> bool:
        state = self._file.state
        if state.listed:
            return False
        try:
            if self._following is None:
                self._following = self._listing.after(state.cursor)
            taken = take(self._following, self._most, state.cursor, everything=state.everything)
            portion = self._file.keep_portion(state.portions + 1, taken)
            passed_over = state.passed_over + portion.passed_over
            self._file.change(
                portions=state.portions + 1, cursor=portion.cursor, listed=portion.last, passed_over=passed_over
            )
        except BaseException:
            self._following = None  # what it gave is kept nowhere
            raise
        if portion != taken:
            self._following = None  # a process before this one had listed otherwise
        return True

    def _finish(self) -> bool:
        state = self._file.state
        if state.listed and state.gathered == state.portions and not self.finished:
            self._file.change(finished_at=self._parts.clock())
            return True
        return False

    def _portion(self, number: int) -> Portion:
        if self._current is None or self._current[0] != number:
            portion = self._file.portion(number)
            self._sizes[number] = len(portion.uris)
            if number != self._file.state.sending:
                return portion
            self._current = (number, portion)
        return self._current[1]

    def _size(self, number: int) -> int:
        if number not in self._sizes:
            self._sizes[number] = len(self._portion(number).uris)
        return self._sizes[number]


def take(following: Iterator[Found], most: int, cursor: str, *, everything: bool) -> Portion:
    """The next portion: of all that follows, or of what is an image by its name."""
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


def drive(run: Run, show: Callable[[Run], None], say: Callable[[str], None], wait: Callable[[float], object]) -> None:
    """Run to the end. What does not answer is tried again for ever, with growing pauses; `say` hears of it once.

    Raises BadListing, RunTaken, Misconfigured.
    """
    pause = 0.0
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
            if not pause:
                say(f"{error}; trying again")
            pause = min(2 * pause or 1.0, _LONGEST_PAUSE_S)
            wait(pause)
            continue
        pause = 0.0
        if not moved:
            wait(run.poll_s)
