"""Send the jobs of accepted images to the queues of their pools."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

from core.domain.messages import Job, TagOptions, encode
from core.errors import PartialSend
from core.storage.ports import Queue
from core.telemetry import logger
from web_tier.catalog.batch_options import job_options
from web_tier.catalog.batches import Batch, Image
from web_tier.catalog.uploads import UploadCatalog

_GROUP = 100


class Dispatch:
    """Sends jobs, and records in the catalogue which were sent. `jobs` returns the queue of a pool."""

    def __init__(self, jobs: Callable[[str], Queue], catalog: UploadCatalog) -> None:
        self._jobs = jobs
        self._catalog = catalog

    def send(self, batch: Batch, images: Sequence[Image], submitted_at: float) -> None:
        """Send the jobs of `received` images of one batch. Raises Unavailable.

        An unsent image stays `received`, and the collector's sweep sends it.
        """
        options = job_options(batch.options)
        if unsent := self._send(batch.pool, [_job(batch, image, submitted_at, options) for image in images]):
            logger().warning("some jobs were not sent; the next sweep sends them", batch=batch.id, unsent=unsent)

    def sweep(self, accepted_before: float) -> None:
        """Send the jobs of images accepted before then that were not sent. Raises Unavailable."""
        while unsent := self._catalog.unsent(accepted_before, _GROUP):
            logger().info("sending jobs that an upload left behind", count=len(unsent))
            by_pool: dict[str, list[Job]] = defaultdict(list)
            for batch, image in unsent:
                by_pool[batch.pool].append(_job(batch, image, image.created_at, job_options(batch.options)))
            for pool in sorted(by_pool):
                if self._send(pool, by_pool[pool]):
                    return  # the next sweep tries again

    def _send(self, pool: str, jobs: Sequence[Job]) -> int:
        """Return how many were not sent."""
        unsent = send_most(self._jobs(pool), [encode(job) for job in jobs])
        self._catalog.mark_sent([job.image_id for number, job in enumerate(jobs) if number not in unsent])
        return len(unsent)


def send_most(queue: Queue, bodies: Sequence[str]) -> set[int]:
    """Send messages; return the indexes of messages that the queue did not take. Raises Unavailable if it took none."""
    try:
        queue.send(bodies)
    except PartialSend as error:
        return set(error.unsent)
    return set()


def _job(batch: Batch, image: Image, submitted_at: float, options: TagOptions) -> Job:
    return Job(
        batch_id=batch.id,
        image_id=image.id,
        key=image.key,
        name=image.name,
        tagger=batch.pool,
        submitted_at=submitted_at,
        options=options,
        attempt=image.attempt,
    )
