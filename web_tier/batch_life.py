"""What becomes of a batch when its owner has it tried again or deleted, and when its time is over."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import TypeVar

from config.settings import CollectorSettings
from core import layout
from core.errors import Misconfigured, Unavailable
from core.notifications import is_drop
from core.ports import ObjectStore
from core.telemetry import logger
from web_tier.catalog import Batch, NoSuchBatch
from web_tier.catalog_life import LifeCatalog
from web_tier.dispatch import Dispatch

T = TypeVar("T")

DAY_S = 86_400.0
_GROUP = 100
_AT_ONCE = 2000
_SETTLED_S = 60.0


class BatchLife:
    """What an owner asks for. `clock` gives Unix seconds."""

    def __init__(
        self, store: ObjectStore, catalog: LifeCatalog, dispatch: Dispatch, clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._dispatch = dispatch
        self._clock = clock

    def cancel(self, batch_id: str) -> Batch:
        """Cancel what waits in the batch, and tell the workers, who drop its jobs.

        Raises NoSuchBatch, BatchStands, Unavailable.
        """
        batch = self._catalog.cancel(batch_id, self._clock())
        if batch.status == "cancelled":
            try:
                self._store.put(layout.cancelled_key(batch_id), b"")
            except Unavailable as error:  # their results are ignored anyway
                logger().warning("workers do not know of a cancelled batch", batch=batch_id, reason=str(error))
        return batch

    def retry(self, batch_id: str, image_ids: Collection[str] | None = None) -> int:
        """Have failed images tagged anew, all or some; how many. Those whose bytes are not there stay failed.

        Raises NoSuchBatch, BatchCancelled, Unavailable; images tried again before that stay so.
        """
        failed = self._catalog.failed_images(batch_id)
        chosen = failed if image_ids is None else [image_id for image_id in failed if image_id in set(image_ids)]
        count = 0
        for group in _groups(chosen):
            # A worker that finds a result there would send it once more and not look at the image.
            self._store.delete([layout.result_key(batch_id, image_id) for image_id in group])
            now = self._clock()
            images = self._catalog.try_again(batch_id, group, now)
            if images:
                self._dispatch.send(self._catalog.batch(batch_id), images, now)
            count += len(images)
        return count

    def delete(self, batch_id: str) -> None:
        """Remove the batch from the catalogue, then its bytes; the collector finishes what cannot be done at once.

        Raises NoSuchBatch, and Unavailable where the catalogue does not answer: then nothing was deleted.
        """
        self._catalog.delete(batch_id, self._clock())
        try:
            purge(self._store, batch_id, _AT_ONCE)
        except Unavailable as error:
            logger().warning("the collector will remove what is left of a batch", batch=batch_id, reason=str(error))


class Housekeeping:
    """What nobody has to ask for. `clock` gives Unix seconds."""

    def __init__(
        self, store: ObjectStore, catalog: LifeCatalog, settings: CollectorSettings, clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._settings = settings
        self._clock = clock

    def sweep(self) -> None:
        """Close what was left open, delete what is too old, and finish deletions. Raises Unavailable."""
        self._expire()
        if self._settings.retention_days:
            self._retire()
        self._purge()

    def forget_late(self, results: Collection[tuple[str, str]]) -> set[str]:
        """Remove stored results that came for deleted batches, given as (batch, image); gives those batches."""
        deleted = self._catalog.deleted({batch_id for batch_id, _ in results})
        self._store.delete([layout.result_key(*result) for result in results if result[0] in deleted])
        return deleted

    def _expire(self) -> None:
        now = self._clock()
        before = now - self._settings.expire_open_s
        for batch_id in self._catalog.abandoned(before):
            if self._catalog.expire(batch_id, before, now):
                logger().info("closed a batch that nobody has used for long", batch=batch_id)

    def _retire(self) -> None:
        now = self._clock()
        for batch_id in self._catalog.outlived(now - self._settings.retention_days * DAY_S):
            try:
                self._catalog.delete(batch_id, now)
            except NoSuchBatch:
                continue  # its owner was faster
            logger().info("deleted a batch that is older than collector.retention_days", batch=batch_id)

    def _purge(self) -> None:
        """Once more, when uploads, workers and thumbnails that were under way at the deletion have come to an end."""
        now = self._clock()
        left = _AT_ONCE  # results wait meanwhile
        for batch_id in self._catalog.unpurged(now - _SETTLED_S):
            left -= purge(self._store, batch_id, left)
            if not left:
                return  # the next sweep goes on
            self._catalog.mark_purged(batch_id, now)


def purge(store: ObjectStore, batch_id: str, most: int) -> int:
    """Remove up to `most` objects of a batch: images, thumbnails, results. How many; fewer where none is left.

    Raises Unavailable.
    """
    there = (info.key for prefix in layout.batch_prefixes(batch_id) for info in store.list(prefix))
    removed = 0
    for group in _groups(islice(there, most)):
        store.delete(group)
        removed += len(group)
    return removed + _purge_before(store, batch_id, most - removed)


def _purge_before(store: ObjectStore, batch_id: str, most: int) -> int:
    """Remove originals that are where uploads were kept at first. A store on S3 never had any: others' files are there.

    Raises Unavailable.
    """
    if is_drop(batch_id):
        return 0
    there = (info.key for info in store.list(layout.originals_before(batch_id)))
    removed = 0
    with suppress(Misconfigured):  # these may not be deleted
        for group in _groups(islice(there, most)):
            store.delete(group)
            removed += len(group)
    return removed


def _groups(of: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(of)
    while group := list(islice(rest, _GROUP)):
        yield group
