"""Give up the images of dead letters, and delete dead letters whose images have ended."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice

from core.domain.messages import Job, Result, encode
from core.domain.notifications import parse_message
from core.errors import BadMessage, PreconditionFailed
from core.storage import layout
from core.storage.packs import PackIndex
from core.storage.ports import Delivery, IfAbsent, ObjectStore, Queue, SweepableQueue
from core.storage.results import load_result
from core.telemetry import logger
from web_tier.catalog.results import ImageOutcome, RecordedEnd, ResultCatalog

_GROUP = 100
_NAME_SHOWN = 120
_MOST_NEW = 1_000
"""New dead letters that one sweep handles at most: results wait meanwhile."""
_MOST_AGAIN = 250
"""Handled dead letters that one sweep reads again at most."""
_MOST_RECEIVED = 10_000
"""Dead letters that one sweep receives at most, from a queue that can only be received from."""
_MOST_SEARCHED = 1_000
"""For the first of them, the store is asked for a result even if their images were given up before."""
_MOST_REMEMBERED = 20_000
_READ_AGAIN_S = 300.0
"""Once all dead letters are read, they are read again after this time, or when an image of one has its result."""


@dataclass(slots=True)
class _Rereading:
    """How far the handled dead letters of a pool have been read again, and since when. `position` is "" in between."""

    position: str = ""
    began_at: float = float("-inf")

    def is_due(self, now: float) -> bool:
        return bool(self.position) or not 0 <= now - self.began_at < _READ_AGAIN_S


class DeadLetterSweeper:
    """Sweeps the dead letters of one queue after the other, in one of two ways.

    1. A queue that remembers which letters are handled is asked for new ones, of which each is handled once. Handled
       ones are read again little by little, and deleted if their images have ended after all.
    2. From another queue (SQS) all letters are received and given back, every few minutes or when their number changes.

    `record` writes outcomes into the catalogue and returns how many were new; `clock` returns Unix seconds.
    """

    def __init__(
        self,
        store: ObjectStore,
        catalog: ResultCatalog,
        max_receives: int,
        clock: Callable[[], float],
        record: Callable[[list[ImageOutcome]], int],
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._max_receives = max_receives
        self._clock = clock
        self._record = record
        self._received: dict[str, tuple[int, float]] = {}
        self._remembered: dict[tuple[float, int], None] = {}
        self._rereading: defaultdict[str, _Rereading] = defaultdict(_Rereading)

    def forget_reads(self) -> None:
        """Read all dead letters again, beginning with the next sweep: an image of one of them has its result."""
        self._received.clear()
        for rereading in self._rereading.values():
            rereading.began_at = float("-inf")

    def sweep(self, pool: str, queue: Queue) -> None:
        """Give up the images of a pool's new dead letters, as many as a sweep has time for. Raises Unavailable.

        The dead letters stay, so that operators can redrive them; a later result counts. Dead letters whose images have
        a result are deleted: their worker was killed or delayed on the last delivery.
        """
        letters = queue.dead_letters()
        if isinstance(letters, SweepableQueue):
            self._sweep_new(queue, letters)
            self._sweep_again(queue, letters, self._rereading[pool])
        else:
            self._sweep_received(pool, queue)

    def _sweep_new(self, queue: Queue, letters: SweepableQueue) -> None:
        seen = 0
        while seen < _MOST_NEW and (found := letters.unswept(_GROUP)):
            seen += len(found)
            obsolete = self._give_up(queue, found, search=True, is_handled=lambda _letter: False)
            letters.mark_swept(found)
            letters.delete(obsolete)

    def _sweep_again(self, queue: Queue, letters: SweepableQueue, rereading: _Rereading) -> None:
        now = self._clock()
        if not rereading.is_due(now):
            return
        if not rereading.position:
            rereading.began_at = now
        found = letters.swept(_MOST_AGAIN, rereading.position)
        if found:
            letters.delete(self._give_up(queue, found, search=True, is_handled=lambda _letter: True))
        rereading.position = found[-1].position if len(found) == _MOST_AGAIN else ""

    def _sweep_received(self, pool: str, queue: Queue) -> None:
        dead, now = queue.depth().dead, self._clock()
        read, read_at = self._received.get(pool, (0, 0.0))
        if dead == read and 0 <= now - read_at < _READ_AGAIN_S:
            return
        if self._receive_all(queue, min(dead, _MOST_RECEIVED)) == dead:
            self._received[pool] = dead, now

    def _receive_all(self, queue: Queue, count: int) -> int:
        """Handle at most `count` dead letters and return how many; the first come back while others are read."""
        letters = queue.dead_letters()
        seen = 0
        kept: list[Delivery] = []
        try:
            while seen < count and (found := letters.receive(min(_GROUP, count - seen), 0)):
                seen += len(found)
                kept += found
                obsolete = self._give_up(queue, found, search=seen <= _MOST_SEARCHED, is_handled=self._remembers)
                self._remember(found)
                letters.delete(obsolete)
                kept = [letter for letter in kept if letter not in obsolete]
        finally:
            if seen < _MOST_RECEIVED:  # otherwise they stay hidden for a while, and the next sweep reads others
                letters.set_visibility(kept, 0)
        return seen

    def _remembers(self, letter: Delivery) -> bool:
        return _key(letter) in self._remembered

    def _remember(self, letters: Sequence[Delivery]) -> None:
        """Remember the letters as handled, and forget those that were handled longest ago."""
        for letter in letters:
            self._remembered.pop(_key(letter), None)
            self._remembered[_key(letter)] = None
        for key in list(islice(self._remembered, max(0, len(self._remembered) - _MOST_REMEMBERED))):
            del self._remembered[key]

    def _give_up(
        self, queue: Queue, letters: Sequence[Delivery], *, search: bool, is_handled: Callable[[Delivery], bool]
    ) -> list[Delivery]:
        """Record how the images of these dead letters ended; return the letters that are obsolete.

        Of letters that were handled before no failure is stored again. Without `search` the store is not asked for
        results of images that were given up before.
        """
        asked = [(letter, list(self._jobs(queue, letter))) for letter in letters]
        ends = self._catalog.ends([job.image_id for _, jobs in asked for job in jobs])
        packed = PackIndex(self._store)
        given_up: list[ImageOutcome] = []
        late: list[ImageOutcome] = []
        obsolete: list[Delivery] = []
        for letter, jobs in asked:
            handled = is_handled(letter)
            unsettled = [job for job in jobs if not _is_settled(job, ends) and not _is_packed(job, packed)]
            known = {job.image_id for job in unsettled if _was_given_up(job, ends, handled=handled)}
            results = [
                (job, load_result(job, self._store) if search or job.image_id not in known else None)
                for job in unsettled
            ]
            late += [ImageOutcome.of(result) for job, result in results if result is not None and not job.store_only]
            given_up += self._failures([job for job, found in results if found is None and job.image_id not in known])
            if jobs and all(result is not None for _, result in results):
                obsolete.append(letter)
        self._record(late)
        if new := self._record(given_up):
            logger().warning("images were given up", queue=queue.name, count=new)
        if obsolete:
            logger().info("deleting dead letters whose images have ended", queue=queue.name, count=len(obsolete))
        return obsolete

    def _jobs(self, queue: Queue, letter: Delivery) -> Iterator[Job]:
        try:
            yield from parse_message(letter.body, queue.name).jobs
        except BadMessage as error:
            logger().warning("a dead letter holds no job", reason=str(error))

    def _failures(self, jobs: Sequence[Job]) -> Iterator[ImageOutcome]:
        for job in jobs:
            result = self._failure(job)
            if job.store_only:
                self._store_failure(result)
            else:
                yield replace(ImageOutcome.of(result), timings=None, tagger=None, provisional=True)

    def _failure(self, job: Job) -> Result:
        why = f"gave up after {self._max_receives} attempts: a worker could not finish it"
        return Result(
            batch_id=job.batch_id,
            image_id=job.image_id,
            name=job.name,
            tagger=job.tagger,
            error=f"{job.name[:_NAME_SHOWN]}: {why}",
            finished_at=self._clock(),
            attempt=job.attempt,
            origin=job.origin,
        )

    def _store_failure(self, result: Result) -> None:
        """Store the failure for readers of the store, unless a worker has stored a result meanwhile."""
        key = layout.result_key(result.batch_id, result.image_id)
        with suppress(PreconditionFailed):
            self._store.put(key, encode(result).encode(), content_type="application/json", condition=IfAbsent())


def _is_packed(job: Job, packed: PackIndex) -> bool:
    return job.store_only and job.pack and packed.holds(job.batch_id, job.image_id)


def _is_settled(job: Job, ends: Mapping[str, RecordedEnd]) -> bool:
    return job.image_id in ends and ends[job.image_id].settles(job.attempt)


def _was_given_up(job: Job, ends: Mapping[str, RecordedEnd], *, handled: bool) -> bool:
    """Return whether the failure of this job is recorded, or stored, by an earlier sweep."""
    end = ends.get(job.image_id)
    return handled if job.store_only else end is not None and end.provisional and end.attempt == job.attempt


def _key(letter: Delivery) -> tuple[float, int]:
    """Return what tells a letter from others, and from what it is after it was redriven and died again."""
    return letter.sent_at, hash(letter.body)
