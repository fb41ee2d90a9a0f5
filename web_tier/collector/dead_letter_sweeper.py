"""Give up the images of dead letters, and delete dead letters whose images have ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from core.domain.messages import Job, Result, encode
from core.domain.notifications import parse_message
from core.errors import BadMessage, PreconditionFailed
from core.storage import layout
from core.storage.packs import PackIndex
from core.storage.ports import Delivery, IfAbsent, ObjectStore, Queue
from core.storage.results import load_result
from core.telemetry import logger
from web_tier.catalog.results import ImageOutcome, RecordedEnd, ResultCatalog

_GROUP = 100
_NAME_SHOWN = 120
_MOST_READ = 10_000
"""Dead letters that one sweep reads at most: results wait meanwhile."""
_MOST_SEARCHED = 1_000
"""For the first of them, the store is asked for a result even if their images were given up before."""
_READ_AGAIN_S = 300.0
"""Once all dead letters are read, they are read again after this time, or when their number changes."""


class DeadLetterSweeper:
    """Sweeps the dead letters of one queue after the other.

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
        self._read: dict[str, tuple[int, float]] = {}

    def forget_reads(self) -> None:
        """Read all dead letters in the next sweep: an image of one of them has its result after all."""
        self._read.clear()

    def sweep(self, pool: str, queue: Queue) -> None:
        """Give up the images of a pool's dead letters, unless all were read a moment ago. Raises Unavailable.

        The dead letters stay, so that operators can redrive them; a later result counts. Dead letters whose images have
        a result are deleted: their worker was killed or delayed on the last delivery.
        """
        dead, now = queue.depth().dead, self._clock()
        read, read_at = self._read.get(pool, (0, 0.0))
        if dead == read and 0 <= now - read_at < _READ_AGAIN_S:
            return
        if self._sweep_all(queue, min(dead, _MOST_READ)) == dead:
            self._read[pool] = dead, now

    def _sweep_all(self, queue: Queue, count: int) -> int:
        """Handle at most `count` dead letters and return how many; the first come back while others are read."""
        letters = queue.dead_letters()
        seen = 0
        kept: list[Delivery] = []
        try:
            while seen < count and (found := letters.receive(min(_GROUP, count - seen), 0)):
                seen += len(found)
                kept += found
                obsolete = self._give_up(queue, found, search=seen <= _MOST_SEARCHED)
                letters.delete(obsolete)
                kept = [letter for letter in kept if letter not in obsolete]
        finally:
            if seen < _MOST_READ:  # otherwise they stay hidden for a while, and the next sweep reads others
                letters.set_visibility(kept, 0)
        return seen

    def _give_up(self, queue: Queue, letters: Sequence[Delivery], *, search: bool) -> list[Delivery]:
        """Record how the images of these dead letters ended; return the letters that are obsolete."""
        asked = [(letter, list(self._jobs(queue, letter))) for letter in letters]
        ends = self._catalog.ends([job.image_id for _, jobs in asked for job in jobs])
        packed = PackIndex(self._store)
        given_up: list[ImageOutcome] = []
        late: list[ImageOutcome] = []
        obsolete: list[Delivery] = []
        for letter, jobs in asked:
            unsettled = [job for job in jobs if not _is_settled(job, ends) and not _is_packed(job, packed)]
            results = [(job, self._find_result(job, ends, search)) for job in unsettled]
            late += [ImageOutcome.of(result) for job, result in results if result is not None and not job.store_only]
            given_up += self._failures([job for job, result in results if result is None])
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

    def _find_result(self, job: Job, ends: Mapping[str, RecordedEnd], search: bool) -> Result | None:
        known = ends.get(job.image_id)
        return load_result(job, self._store) if search or known is None or not known.provisional else None

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
