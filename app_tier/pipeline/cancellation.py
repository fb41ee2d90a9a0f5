"""Which batches were cancelled: their jobs that still wait on the queue are for nobody."""

from __future__ import annotations

from collections.abc import Callable

from core.errors import NotFound, Unavailable
from core.storage import layout
from core.storage.ports import ObjectStore

_FRESH_S = 2.0
_REMEMBERED = 1000


class Cancelled:
    """Asks the store, for each batch at most every two seconds. `clock` is monotonic. Safe for several threads."""

    def __init__(self, store: ObjectStore, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._known: dict[str, tuple[bool, float]] = {}

    def says(self, batch_id: str) -> bool:
        """False while the store does not answer: a job done in vain does no harm."""
        now = self._clock()
        cancelled, asked_at = self._known.get(batch_id, (False, float("-inf")))
        if cancelled or now - asked_at < _FRESH_S:
            return cancelled
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        cancelled = self._marked(batch_id)
        self._known[batch_id] = cancelled, now
        return cancelled

    def _marked(self, batch_id: str) -> bool:
        try:
            self._store.get(layout.cancelled_key(batch_id))
        except (NotFound, Unavailable):
            return False
        return True
