"""Sends the jobs of images that the catalogue has accepted."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from core.domain.messages import Job, encode
from core.errors import PartialSend
from core.storage.ports import Queue
from core.telemetry import logger
from web_tier.catalog.batch_options import for_jobs
from web_tier.catalog.batches import Batch, Image
from web_tier.catalog.uploads import UploadCatalog


class Dispatch:
    """`jobs` gives the queue of a pool."""

    def __init__(self, jobs: Callable[[str], Queue], catalog: UploadCatalog) -> None:
        self._jobs = jobs
        self._catalog = catalog

    def send(self, batch: Batch, images: Sequence[Image], submitted_at: float) -> None:
        """Put the jobs of `received` images of one batch on the queue. Raises Unavailable.

        What is not sent stays `received`, and is sent by the collector's sweep.
        """
        options = for_jobs(batch.options)
        bodies = [
            encode(
                Job(
                    batch_id=batch.id,
                    image_id=image.id,
                    key=image.key,
                    name=image.name,
                    tagger=batch.pool,
                    submitted_at=submitted_at,
                    options=options,
                    attempt=image.attempt,
                )
            )
            for image in images
        ]
        unsent: set[int] = set()
        try:
            self._jobs(batch.pool).send(bodies)
        except PartialSend as error:
            unsent = set(error.unsent)
            logger().warning("some jobs were not sent; the sweep sends them", batch=batch.id, unsent=len(unsent))
        self._catalog.mark_sent([image.id for number, image in enumerate(images) if number not in unsent])
