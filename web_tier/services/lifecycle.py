"""What becomes of a batch when its owner has it tried again or deleted, and when its time is over."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection

from config.settings import CollectorSettings
from core.errors import Unavailable
from core.storage import layout
from core.storage.ports import ObjectStore
from core.telemetry import logger
from web_tier.catalog.batches import Batch, NoSuchBatch
from web_tier.catalog.lifecycle import LifecycleCatalog
from web_tier.catalog.removal import RemovalCatalog
from web_tier.services.cancelling import Cancelling
from web_tier.services.dispatch import Dispatch
from web_tier.services.removal import Removal, purge

__all__ = ["DAY_S", "BatchLifecycle", "Housekeeping", "purge"]

DAY_S = 86_400.0
_GROUP = 100
_AT_ONCE = 500
"""Images whose rows a request writes or removes itself; the collector goes on with the others."""
_LOOK_S = 1.0
_PAUSE_S = 5.0


class BatchLifecycle:
    """What an owner asks for. `clock` gives Unix seconds."""

    def __init__(
        self, store: ObjectStore, catalog: LifecycleCatalog, dispatch: Dispatch, clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._dispatch = dispatch
        self._clock = clock
        self._removal = Removal(store, RemovalCatalog(catalog.database), clock)
        self._cancelling = Cancelling(catalog)

    def cancel(self, batch_id: str) -> Batch:
        """Cancel what waits in the batch, and tell the workers, who drop its jobs.

        Every reader sees it cancelled then; the collector finishes what cannot be written at once.

        Raises NoSuchBatch, BatchStands, Unavailable.
        """
        batch = self._catalog.cancel(batch_id, self._clock())
        if batch.status == "cancelled":
            try:
                self._store.put(layout.cancelled_key(batch_id), b"")
            except Unavailable as error:  # their results are ignored anyway
                logger().warning("workers do not know of a cancelled batch", batch=batch_id, reason=str(error))
        if batch.status == "cancelled" and not batch.told:
            try:
                self._cancelling.begin(batch_id, _AT_ONCE)
            except Unavailable as error:
                logger().warning("the collector will finish a cancelled batch", batch=batch_id, reason=str(error))
        return batch

    def retry(self, batch_id: str, image_ids: Collection[str] | None = None) -> int:
        """Have failed images tagged anew, all or some; how many. Those whose bytes are not there stay failed.

        Raises NoSuchBatch, BatchCancelled, Unavailable; images tried again before that stay so.
        """
        failed = self._catalog.failed_images(batch_id)
        named = None if image_ids is None else set(image_ids)
        chosen = [image_id for image_id in failed if named is None or image_id in named]
        count = 0
        for start in range(0, len(chosen), _GROUP):
            group = chosen[start : start + _GROUP]
            # A worker that finds a result there would send it once more and not look at the image.
            self._store.delete([layout.result_key(batch_id, image_id) for image_id in group])
            now = self._clock()
            images = self._catalog.try_again(batch_id, group, now)
            if images:
                self._dispatch.send(self._catalog.batch(batch_id), images, now)
            count += len(images)
        return count

    def delete(self, batch_id: str) -> None:
        """Hide the batch from every reader, and remove it; the collector finishes what cannot be done at once.

        Raises NoSuchBatch, and Unavailable where the catalogue does not answer: then nothing was deleted.
        """
        self._catalog.delete(batch_id, self._clock())
        try:
            self._removal.begin(batch_id, _AT_ONCE)
        except Unavailable as error:
            logger().warning("the collector will remove what is left of a batch", batch=batch_id, reason=str(error))


class Housekeeping:
    """What nobody has to ask for. `clock` gives Unix seconds."""

    def __init__(
        self, store: ObjectStore, catalog: LifecycleCatalog, settings: CollectorSettings, clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._settings = settings
        self._clock = clock
        self._removal = Removal(store, RemovalCatalog(catalog.database), clock)
        self._cancelling = Cancelling(catalog)

    def sweep(self) -> None:
        """Close what was left open, delete what is too old, and finish what was begun. Raises Unavailable."""
        self.mark()
        self.finish(threading.Event())

    def mark(self) -> None:
        """Close what was left open, and mark what is too old as deleted. Raises Unavailable."""
        self._expire()
        if self._settings.retention_days:
            self._retire()

    def finish(self, stop: threading.Event) -> bool:
        """Finish cancellations and deletions, however large, until `stop` is set; whether there were any.

        Raises Unavailable.
        """
        cancelled = self._cancelling.work(stop)
        return self._removal.work(stop) or cancelled

    def run(self, stop: threading.Event) -> None:
        """Finish what comes until `stop` is set; the group in hand is finished. What does not answer is tried again."""
        silent = False
        while not stop.is_set():
            try:
                self.finish(stop)
                pause = _LOOK_S
                silent = False
            except Unavailable as error:
                if not silent:
                    logger().warning("removing deleted batches waits: something does not answer", reason=str(error))
                silent, pause = True, _PAUSE_S
            stop.wait(pause)

    def make_room(self, batch_ids: Collection[str]) -> None:
        """Remove what deleted batches of these ids held, so that they can begin anew. Raises Unavailable."""
        self._removal.clear(batch_ids, threading.Event())

    def forget_late(self, results: Collection[tuple[str, str]]) -> set[str]:
        """Remove stored results that came for deleted batches, given as (batch, image); gives those batches."""
        deleted = self._catalog.deleted({batch_id for batch_id, _ in results})
        self.forget([result for result in results if result[0] in deleted])
        return deleted

    def forget(self, results: Collection[tuple[str, str]]) -> None:
        """Remove these stored results, given as (batch, image)."""
        self._store.delete([layout.result_key(*result) for result in results])

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
