"""Remove the objects and rows of deleted batches.

1. To delete a batch marks its row (`LifecycleCatalog.delete`): nobody sees the batch or its images any more. The same
   request removes up to 500 images itself (`begin`), which is all of a small batch.
2. A minute later, when uploads, workers and thumbnails in progress have ended, the collector continues. For some images
   at a time it removes their objects from the store, then their rows from the catalogue. Rows go last, so whenever it
   is interrupted, the remaining rows name the remaining objects.
3. Then it lists the batch's folders once, and removes objects that came late.

All of it may be done twice, and by several processes at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import TypeVar

from core.domain.dropped_files import is_drop
from core.errors import Misconfigured
from core.storage import layout
from core.storage.ports import ObjectStore
from core.telemetry import logger
from web_tier.catalog.pace import Pace
from web_tier.catalog.removal import RemainingImage, RemovalCatalog

T = TypeVar("T")

SETTLED_S = 60.0
_PORTION = 1000
_AT_A_TIME = 1000
"""Keys per call: the most that S3 takes in one request."""


class Removal:
    """Finishes deletions. `clock` returns Unix seconds.

    All methods but `begin` continue until nothing is left or `stop` is set. All raise Unavailable, and can be called
    again then.
    """

    def __init__(
        self,
        store: ObjectStore,
        catalog: RemovalCatalog,
        clock: Callable[[], float],
        new_pace: Callable[[], Pace] = Pace,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._clock = clock
        self._new_pace = new_pace

    def begin(self, batch_id: str, most: int) -> None:
        """Remove up to `most` images of a batch that was just deleted."""
        self._clear(batch_id, threading.Event(), most)

    def clear(self, batch_ids: Iterable[str], stop: threading.Event) -> None:
        """Remove what deleted batches of these ids held, so that they can start anew."""
        for batch_id in batch_ids:
            if self._catalog.is_uncleared(batch_id):
                self._clear(batch_id, stop)

    def work(self, stop: threading.Event) -> bool:
        """Remove everything that is due; return whether there was anything."""
        unswept = self._catalog.unswept(self._clock() - SETTLED_S)
        for batch_id, deleted_at in unswept:
            if stop.is_set():
                break
            if self._catalog.is_uncleared(batch_id):
                self._clear(batch_id, stop)
            if not self._catalog.is_uncleared(batch_id):
                self._sweep(batch_id, deleted_at, stop)
        return bool(unswept)

    def _clear(self, batch_id: str, stop: threading.Event, most: int | None = None) -> None:
        """Remove images until `most` are gone, none is left, or others have locked the rest."""
        pace = self._new_pace()
        self._store.delete([layout.cancelled_key(batch_id)])
        position = removed = removed_before = 0
        while not stop.is_set() and (most is None or removed < most):
            wanted = _PORTION if most is None else min(_PORTION, most - removed)
            found = self._catalog.images_after(batch_id, position, wanted)
            if found:
                self._store.delete([key for image in found for key in _keys(batch_id, image)])
                for group in pace.groups([image.id for image in found]):
                    removed += self._catalog.remove(batch_id, group, pace)
                    if stop.is_set():
                        return
                position = found[-1].position
                if len(found) == wanted:
                    continue
            if self._catalog.mark_cleared(batch_id, self._clock()):
                _remove_old_layout(self._store, batch_id, most)
                logger().info("removed the images of a deleted batch", batch=batch_id)
                return
            if removed == removed_before:
                return  # the next call finds them unlocked
            position, removed_before = 0, removed

    def _sweep(self, batch_id: str, deleted_at: float, stop: threading.Event) -> None:
        # Files dropped since belong to a batch of the same id that has yet to start.
        before = deleted_at - SETTLED_S if is_drop(batch_id) else None
        for group in _groups(_leftovers(self._store, batch_id, before)):
            self._store.delete(group)
            if stop.is_set():
                return
        _remove_old_layout(self._store, batch_id)
        self._catalog.mark_swept(batch_id, self._clock())


def purge(store: ObjectStore, batch_id: str, most: int) -> int:
    """Remove up to `most` stored objects of a batch: images, thumbnails, results. Return how many were removed.

    Raises Unavailable.
    """
    removed = 0
    for group in _groups(islice(_leftovers(store, batch_id), most)):
        store.delete(group)
        removed += len(group)
    return removed + _remove_old_layout(store, batch_id, most - removed)


def _remove_old_layout(store: ObjectStore, batch_id: str, most: int | None = None) -> int:
    """Remove originals where the first versions stored uploads. S3 has none there, only files of other owners.

    Raises Unavailable.
    """
    if is_drop(batch_id):
        return 0
    there = (info.key for info in store.list(layout.originals_before(batch_id)))
    removed = 0
    with suppress(Misconfigured):  # the process may not delete these
        for group in _groups(islice(there, most)):
            store.delete(group)
            removed += len(group)
    return removed


def _leftovers(store: ObjectStore, batch_id: str, before: float | None = None) -> Iterator[str]:
    for prefix in layout.batch_prefixes(batch_id):
        for info in store.list(prefix):
            if before is None or info.modified < before:
                yield info.key


def _keys(batch_id: str, image: RemainingImage) -> tuple[str, ...]:
    """Return all keys that an image may have. To delete one that does not exist costs nothing more."""
    return (
        layout.image_key(batch_id, image.id),
        layout.thumbnail_key(batch_id, image.id),
        layout.result_key(batch_id, image.id),
    )


def _groups(of: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(of)
    while group := list(islice(rest, _AT_A_TIME)):
        yield group
