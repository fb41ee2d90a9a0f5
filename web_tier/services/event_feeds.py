"""What the streams of one batch have in common, read once for all of them: 200 readers cost little more than one."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from web_tier.catalog.batches import Batch, Catalog
from web_tier.http.responses import encode_json
from web_tier.services.serializers import serialize_image

_FRESH_S = 0.1
_LOOK_S = 1.0
_BURST = 200
_BURSTS_KEPT = 8


@dataclass(frozen=True, slots=True)
class Look:
    """A batch as it was at its change number `change`; `event` says so to a reader, `ended` that it was the last."""

    change: int
    event: bytes
    ended: bytes | None


@dataclass(frozen=True, slots=True)
class Burst:
    """Events of some images, the latest of which has the change number `last`."""

    events: bytes
    last: int


class EventFeed:
    """One batch, for all its streams. Safe for several threads; what the catalogue raises goes to each of them."""

    def __init__(self, batch_id: str, catalog: Catalog, present: Callable[[Batch], dict[str, Any]]) -> None:
        self._batch_id = batch_id
        self._catalog = catalog
        self._present = present
        self._lock = threading.Lock()
        self._look: Look | None = None
        self._workers: Any = None
        self._asked_at = self._looked_at = float("-inf")
        self._bursts: OrderedDict[tuple[int, int], Burst | None] = OrderedDict()

    def look(self, now: float) -> Look:
        """The batch as it was a moment ago: the same object until something changes. `now` is monotonic, in seconds."""
        with self._lock:
            if self._look is None or now - self._asked_at >= _FRESH_S:
                self._look = self._fresh(self._look, now)
                self._asked_at = now
            return self._look

    def after(self, change: int, look: Look) -> Burst | None:
        """The next images beyond a change number, as far as `look` knows of any; later ones may be among them."""
        if change >= look.change:
            return None
        key = (change, look.change)
        with self._lock:
            if key in self._bursts:
                self._bursts.move_to_end(key)
                return self._bursts[key]
            images = self._catalog.changes(self._batch_id, change, _BURST)
            events = b"".join(_event("item", serialize_image(image), image.change) for image in images)
            burst = self._bursts[key] = Burst(events, images[-1].change) if images else None
            if len(self._bursts) > _BURSTS_KEPT:
                self._bursts.popitem(last=False)
            return burst

    def _fresh(self, known: Look | None, now: float) -> Look:
        """A rate that only fades is no news; workers that come or go are."""
        changed = known is None or self._catalog.change(self._batch_id) != known.change
        if known is not None and not changed and now - self._looked_at < _LOOK_S:
            return known
        self._looked_at = now
        batch = self._catalog.batch(self._batch_id)
        state = self._present(batch)
        if known is not None and not changed and state["workers"] == self._workers:
            return known
        self._workers = state["workers"]
        return Look(batch.change, _event("batch", state), _event("completed", state) if batch.told else None)


class EventFeeds:
    """The feeds of the batches that are being followed."""

    def __init__(self, catalog: Catalog, present: Callable[[Batch], dict[str, Any]]) -> None:
        self._catalog = catalog
        self._present = present
        self._lock = threading.Lock()
        self._open: dict[str, tuple[EventFeed, int]] = {}

    @contextmanager
    def of(self, batch_id: str) -> Iterator[EventFeed]:
        """The feed of a batch, kept for as long as somebody follows it."""
        with self._lock:
            feed, readers = self._open.get(batch_id) or (EventFeed(batch_id, self._catalog, self._present), 0)
            self._open[batch_id] = feed, readers + 1
        try:
            yield feed
        finally:
            with self._lock:
                feed, readers = self._open.pop(batch_id)
                if readers > 1:
                    self._open[batch_id] = feed, readers - 1


def _event(kind: str, data: dict[str, Any], id: int | None = None) -> bytes:
    head = b"" if id is None else b"id: %d\n" % id
    return head + b"event: " + kind.encode() + b"\ndata: " + encode_json(data) + b"\n\n"
