"""The life of batches: owners cancel, retry and delete them; the service expires and retires them."""

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
from web_tier.catalog.pace import Pace
from web_tier.catalog.placing import Placing, PlacingCatalog
from web_tier.catalog.removal import RemovalCatalog
from web_tier.services.dispatch import Dispatch
from web_tier.services.outage import Outage
from web_tier.services.removal import Removal, purge

__all__ = ["DAY_S", "BatchLifecycle", "Housekeeping", "purge"]

DAY_S = 86_400.0
_GROUP = 100
_PORTION = 1000
_AT_ONCE = 500
"""Images whose rows a request changes or removes itself; the collector continues with the rest."""
_POLL_S = 1.0


class Cancelling:
    """Cancels the rows of a cancelled batch's images, in small groups.

    Readers see the batch and its images as cancelled at once (`LifecycleCatalog.cancel`). An event stream gets each
    image's event when its row is written, and the end of the batch after the last one. The work may be interrupted
    anywhere, and done twice. Its methods raise Unavailable, and can be called again then.
    """

    def __init__(self, catalog: LifecycleCatalog, new_pace: Callable[[], Pace] = Pace) -> None:
        self._catalog = catalog
        self._new_pace = new_pace

    def begin(self, batch_id: str, most: int) -> None:
        """Cancel up to `most` images of a batch that was just cancelled; complete the batch if these are all."""
        self._finish(batch_id, threading.Event(), most)

    def work(self, stop: threading.Event) -> bool:
        """Finish the cancelling of all batches, until `stop` is set; return whether there were any."""
        unfinished = self._catalog.cancelling()
        for batch_id in unfinished:
            self._finish(batch_id, stop)
        return bool(unfinished)

    def _finish(self, batch_id: str, stop: threading.Event, most: int | None = None) -> None:
        pace = self._new_pace()
        position = written = 0
        while not stop.is_set() and (most is None or written < most):
            wanted = _PORTION if most is None else min(_PORTION, most - written)
            found = self._catalog.waiting_after(batch_id, position, wanted)
            for group in pace.groups([image_id for image_id, _ in found]):
                self._catalog.cancel_some(batch_id, group, pace)
                if stop.is_set():
                    return
            if len(found) < wanted:
                self._catalog.end_cancelled(batch_id)
                return
            position = found[-1][1]
            written += len(found)


class BatchLifecycle:
    """Cancels, retries and deletes batches for their owners. `clock` returns Unix seconds."""

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
        """Cancel the batch's waiting images, and let workers know, so that they skip its jobs.

        Readers see the batch as cancelled afterwards; the collector updates the rows that cannot be updated at once.
        Raises NoSuchBatch, NotCancellable, Unavailable.
        """
        batch = self._catalog.cancel(batch_id, self._clock())
        if batch.status == "cancelled":
            try:
                self._store.put(layout.cancelled_key(batch_id), b"")
            except Unavailable as error:  # results of a cancelled batch are ignored anyway
                logger().warning("workers were not told of a cancelled batch", batch=batch_id, reason=str(error))
        if batch.status == "cancelled" and not batch.final:
            try:
                self._cancelling.begin(batch_id, _AT_ONCE)
            except Unavailable as error:
                logger().warning("the collector will finish a cancelled batch", batch=batch_id, reason=str(error))
        return batch

    def retry(self, batch_id: str, image_ids: Collection[str] | None = None) -> int:
        """Queue failed images again, all or these; return how many. Images whose bytes are gone stay failed.

        Raises NoSuchBatch, BatchCancelled, Unavailable; images queued before that stay queued.
        """
        failed = self._catalog.failed_images(batch_id)
        named = None if image_ids is None else set(image_ids)
        chosen = [image_id for image_id in failed if named is None or image_id in named]
        count = 0
        for start in range(0, len(chosen), _GROUP):
            group = chosen[start : start + _GROUP]
            # A worker that finds an old result would send it again and not tag the image.
            self._store.delete([layout.result_key(batch_id, image_id) for image_id in group])
            now = self._clock()
            images = self._catalog.retry(batch_id, group, now)
            if images:
                self._dispatch.send(self._catalog.get_batch(batch_id), images, now)
            count += len(images)
        return count

    def delete(self, batch_id: str) -> None:
        """Hide the batch from every reader, and remove what can be removed at once; the collector removes the rest.

        Raises NoSuchBatch, and Unavailable if the catalogue does not answer: then nothing is deleted.
        """
        self._catalog.delete(batch_id, self._clock())
        try:
            self._removal.begin(batch_id, _AT_ONCE)
        except Unavailable as error:
            logger().warning("the collector will remove what is left of a batch", batch=batch_id, reason=str(error))


class Housekeeping:
    """Expires and retires batches, finishes cancellations and deletions, and counts tags of earlier versions.

    `clock` returns Unix seconds.
    """

    def __init__(
        self, store: ObjectStore, catalog: LifecycleCatalog, settings: CollectorSettings, clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._settings = settings
        self._clock = clock
        self._removal = Removal(store, RemovalCatalog(catalog.database), clock)
        self._cancelling = Cancelling(catalog)
        self._placing = Placing(PlacingCatalog(catalog.database), clock)

    def sweep(self) -> None:
        """Do all of it: `mark`, then `finish`. Raises Unavailable."""
        self.mark()
        self.finish(threading.Event())

    def mark(self) -> None:
        """Close abandoned batches, and mark batches past their retention as deleted. Raises Unavailable."""
        self._expire()
        if self._settings.retention_days:
            self._retire()

    def finish(self, stop: threading.Event) -> bool:
        """Finish all cancellations and deletions, and count some tags of earlier versions, until `stop` is set.

        Returns whether more of these tags are left. Raises Unavailable.
        """
        self._cancelling.work(stop)
        self._removal.work(stop)
        return self._placing.work(stop)

    def run(self, stop: threading.Event) -> None:
        """Finish as it comes what `finish` does, until `stop` is set. Retries what does not answer."""
        outage = Outage("removing and cancelling large batches waits", "removing and cancelling large batches goes on")
        while not stop.is_set():
            try:
                pause_s = 0.0 if self.finish(stop) else _POLL_S
                outage.end()
            except Unavailable as error:
                pause_s = max(_POLL_S, outage.record(error))
            stop.wait(pause_s)

    def make_room(self, batch_ids: Collection[str]) -> None:
        """Remove what deleted batches of these ids held, so that they can start anew. Raises Unavailable."""
        self._removal.clear(batch_ids, threading.Event())

    def remove_late_results(self, results: Collection[tuple[str, str]]) -> set[str]:
        """Remove stored results of deleted batches, given as (batch, image); return these batches."""
        deleted = self._catalog.deleted({batch_id for batch_id, _ in results})
        self.remove_results([result for result in results if result[0] in deleted])
        return deleted

    def remove_results(self, results: Collection[tuple[str, str]]) -> None:
        """Remove stored results, given as (batch, image)."""
        self._store.delete([layout.result_key(*result) for result in results])

    def _expire(self) -> None:
        now = self._clock()
        before = now - self._settings.expire_open_s
        for batch_id in self._catalog.abandoned(before):
            if self._catalog.expire(batch_id, before, now):
                logger().info("closed a batch that its owner left open", batch=batch_id)

    def _retire(self) -> None:
        now = self._clock()
        for batch_id in self._catalog.completed_before(now - self._settings.retention_days * DAY_S):
            try:
                self._catalog.delete(batch_id, now)
            except NoSuchBatch:
                continue  # its owner was faster
            logger().info("deleted a batch that is older than collector.retention_days", batch=batch_id)
