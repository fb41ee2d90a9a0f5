"""What the collector does about dead letters: it gives their images up, and takes away letters of those that ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from core.domain.messages import Job, Result, encode
from core.domain.notifications import asked_by
from core.domain.results import stored_for
from core.errors import BadMessage, PreconditionFailed
from core.storage import layout
from core.storage.ports import Delivery, IfAbsent, ObjectStore, Queue
from core.telemetry import logger
from web_tier.catalog.results import End, Outcome, ResultCatalog

_GROUP = 100
_NAME_SHOWN = 120
_LETTERS = 10_000
"""Dead letters that one look reads at most: results wait meanwhile."""
_SEARCHED = 1_000
"""Of those, so many have the store asked again for a result, where their images were given up before."""
_READ_AGAIN_S = 300.0
"""Letters that were all read are read again after this, or once there are more or fewer of them."""


class DeadLetterSweeper:
    """`record` writes outcomes into the catalogue and returns how many were new; `clock` gives Unix seconds."""

    def __init__(
        self,
        store: ObjectStore,
        catalog: ResultCatalog,
        max_receives: int,
        clock: Callable[[], float],
        record: Callable[[list[Outcome]], int],
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._max_receives = max_receives
        self._clock = clock
        self._record = record
        self._read: dict[str, tuple[int, float]] = {}

    def look_again(self) -> None:
        """Read all letters with the next look: one of them has its result after all."""
        self._read.clear()

    def look(self, pool: str, queue: Queue) -> None:
        """Give up the images of a pool's dead letters, unless these were all read a moment ago. Raises Unavailable.

        The letters stay where they are, for whoever redrives them; a result that comes then counts. Those of images
        that have their result are deleted: a worker was killed, or held up for too long, on its last delivery.
        """
        dead, now = queue.depth().dead, self._clock()
        read, read_at = self._read.get(pool, (0, 0.0))
        if dead == read and 0 <= now - read_at < _READ_AGAIN_S:
            return
        if self._read_all(queue, min(dead, _LETTERS)) == dead:
            self._read[pool] = dead, now

    def _read_all(self, queue: Queue, count: int) -> int:
        """Reads `count` at most, as those read first come back while others are read; returns how many."""
        letters = queue.dead_letters()
        seen = 0
        kept: list[Delivery] = []
        try:
            while seen < count and (found := letters.receive(min(_GROUP, count - seen), 0)):
                seen += len(found)
                kept += found
                over = self._ended(queue, found, search=seen <= _SEARCHED)
                letters.delete(over)
                kept = [letter for letter in kept if letter not in over]
        finally:
            if seen < _LETTERS:  # else they stay hidden for a while, and the next look reads others
                letters.set_visibility(kept, 0)
        return seen

    def _ended(self, queue: Queue, letters: Sequence[Delivery], *, search: bool) -> list[Delivery]:
        """Writes down what became of the images of these letters; returns those letters that nobody needs any more."""
        asked = [(letter, list(self._jobs(queue, letter))) for letter in letters]
        ends = self._catalog.ends([job.image_id for _, jobs in asked for job in jobs])
        given_up: list[Outcome] = []
        late: list[Outcome] = []
        over: list[Delivery] = []
        for letter, jobs in asked:
            left = [job for job in jobs if not _settled(job, ends)]
            results = [(job, self._stored(job, ends, search)) for job in left]
            late += [Outcome.of(result) for job, result in results if result is not None and not job.store_only]
            given_up += self._given_up([job for job, result in results if result is None])
            if jobs and all(result is not None for _, result in results):
                over.append(letter)
        self._record(late)
        if new := self._record(given_up):
            logger().warning("images were given up", queue=queue.name, count=new)
        if over:
            logger().info("dead letters whose images have ended are deleted", queue=queue.name, count=len(over))
        return over

    def _jobs(self, queue: Queue, letter: Delivery) -> Iterator[Job]:
        try:
            yield from asked_by(letter.body, queue.name).jobs
        except BadMessage as error:
            logger().warning("a dead letter is no job", reason=str(error))

    def _stored(self, job: Job, ends: Mapping[str, End], search: bool) -> Result | None:
        known = ends.get(job.image_id)
        return stored_for(job, self._store) if search or known is None or not known.provisional else None

    def _given_up(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        for job in jobs:
            result = self._failure(job)
            if job.store_only:
                self._keep(result)
            else:
                yield replace(Outcome.of(result), timings=None, tagger=None, provisional=True)

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

    def _keep(self, result: Result) -> None:
        """Whoever looks for results in the store finds this one, unless a worker got there after all."""
        key = layout.result_key(result.batch_id, result.image_id)
        with suppress(PreconditionFailed):
            self._store.put(key, encode(result).encode(), content_type="application/json", condition=IfAbsent())


def _settled(job: Job, ends: Mapping[str, End]) -> bool:
    return job.image_id in ends and ends[job.image_id].settles(job.attempt)
