"""Event feeds: what the streams of one batch share, so that 200 readers cost little more than one."""

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
_REREAD_S = 1.0
_BURST = 200
_BURSTS_KEPT = 8


@dataclass(frozen=True, slots=True)
class BatchState:
    """A batch at its change number `change`. `event` reports the state; `ended` is the last event, or None."""

    change: int
    event: bytes
    ended: bytes | None


@dataclass(frozen=True, slots=True)
class Burst:
    """Events of some images; the latest change number among them is `last`."""

    events: bytes
    last: int


class EventFeed:
    """The feed of one batch, for all its streams. Safe for several threads; errors of the catalogue go to each."""

    def __init__(self, batch_id: str, catalog: Catalog, serialize_batch: Callable[[Batch], dict[str, Any]]) -> None:
        self._batch_id = batch_id
        self._catalog = catalog
        self._serialize_batch = serialize_batch
        self._lock = threading.Lock()
        self._state: BatchState | None = None
        self._workers: Any = None
        self._asked_at = self._read_at = float("-inf")
        self._bursts: OrderedDict[tuple[int, int], Burst | None] = OrderedDict()

    def latest(self, now: float) -> BatchState:
        """Return the state of a moment ago: the same object until something changes. `now` is monotonic seconds."""
        with self._lock:
            if self._state is None or now - self._asked_at >= _FRESH_S:
                self._state = self._refresh(self._state, now)
                self._asked_at = now
            return self._state

    def after(self, change: int, state: BatchState) -> Burst | None:
        """Return the next images after a change number; None if `state` has no later one."""
        if change >= state.change:
            return None
        key = (change, state.change)
        with self._lock:
            if key in self._bursts:
                self._bursts.move_to_end(key)
                return self._bursts[key]
            images = self._catalog.list_changes(self._batch_id, change, _BURST)
            events = b"".join(_event("item", serialize_image(image), image.change) for image in images)
            burst = self._bursts[key] = Burst(events, images[-1].change) if images else None
            if len(self._bursts) > _BURSTS_KEPT:
                self._bursts.popitem(last=False)
            return burst

    def _refresh(self, known: BatchState | None, now: float) -> BatchState:
        """Return a new state if the batch or its number of workers changed. A rate that only fades does not count."""
        changed = known is None or self._catalog.read_change(self._batch_id) != known.change
        if known is not None and not changed and now - self._read_at < _REREAD_S:
            return known
        self._read_at = now
        batch = self._catalog.get_batch(self._batch_id)
        shown = self._serialize_batch(batch)
        if known is not None and not changed and shown["workers"] == self._workers:
            return known
        self._workers = shown["workers"]
        return BatchState(batch.change, _event("batch", shown), _event("completed", shown) if batch.final else None)


class EventFeeds:
    """The feeds of the batches that are being followed."""

    def __init__(self, catalog: Catalog, serialize_batch: Callable[[Batch], dict[str, Any]]) -> None:
        self._catalog = catalog
        self._serialize_batch = serialize_batch
        self._lock = threading.Lock()
        self._open: dict[str, tuple[EventFeed, int]] = {}

    @contextmanager
    def of(self, batch_id: str) -> Iterator[EventFeed]:
        """Open the feed of a batch, which lasts for as long as it has readers."""
        with self._lock:
            feed, readers = self._open.get(batch_id) or (self._new_feed(batch_id), 0)
            self._open[batch_id] = feed, readers + 1
        try:
            yield feed
        finally:
            with self._lock:
                feed, readers = self._open.pop(batch_id)
                if readers > 1:
                    self._open[batch_id] = feed, readers - 1

    def _new_feed(self, batch_id: str) -> EventFeed:
        return EventFeed(batch_id, self._catalog, self._serialize_batch)


def _event(kind: str, data: dict[str, Any], id: int | None = None) -> bytes:
    head = b"" if id is None else b"id: %d\n" % id
    return head + b"event: " + kind.encode() + b"\ndata: " + encode_json(data) + b"\n\n"
