"""Cancels the rows of a cancelled batch's images, in small groups.

Readers see the batch and its images as cancelled at once (`LifecycleCatalog.cancel`). An event stream gets each image's
event when its row is written, and the end of the batch after the last one. The work may be interrupted anywhere, and
done twice.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from web_tier.catalog.lifecycle import LifecycleCatalog
from web_tier.catalog.pace import Pace

_PORTION = 1000


class Cancelling:
    """Raises Unavailable, and can be called again then."""

    def __init__(self, catalog: LifecycleCatalog, new_pace: Callable[[], Pace] = Pace) -> None:
        self._catalog = catalog
        self._new_pace = new_pace

    def begin(self, batch_id: str, most: int) -> None:
        """Write up to `most` images of a batch that was cancelled just now, and its end if these are all."""
        self._finish(batch_id, threading.Event(), most)

    def work(self, stop: threading.Event) -> bool:
        """Finish the cancelling of all batches, until `stop` is set; whether there were any."""
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
