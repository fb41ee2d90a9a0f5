"""One object in the store that several processes read and change: each version replaces exactly the one before.

1. A write is conditional on the etag that was read (compare-and-set), so no change of another process is lost.
2. The answer to a write can get lost. Then `save` raises Unavailable and nobody knows whether it was written. The next
   write would be refused because of our own earlier one, and mistake that for another process's. So a document
   remembers the content of unanswered writes. If a write is refused, it reads the object again, and continues if it
   finds one of these contents.
3. So the content must differ between writers (by an owner, a counter): equal content does not show who wrote it.

`S3Store.put` solves the same problem within one call, where a request whose answer was lost is repeated: a nonce
in the object's metadata identifies its own write. This module handles calls that failed.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from core.errors import NotFound, PreconditionFailed, Unavailable
from core.storage.ports import Etag, IfAbsent, IfMatch, ObjectStore
from core.util.backoff import compute_backoff

T = TypeVar("T")

_TRIES = 100
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.02, 1.0
_JSON = "application/json"


class Document(Generic[T]):
    """One object in the store, as one process last read or wrote it. Not safe for several threads."""

    def __init__(
        self,
        store: ObjectStore,
        key: str,
        *,
        parse: Callable[[bytes], T],
        serialise: Callable[[T], bytes],
        content_type: str = _JSON,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        """`parse` raises an error of its own for damaged content, which passes unchanged."""
        self.key = key
        self.etag: Etag | None = None
        """The version that this process loaded or saved last; None if there was no object."""
        self._store = store
        self._parse = parse
        self._serialise = serialise
        self._content_type = content_type
        self._pause = pause
        self._unanswered: set[bytes] = set()
        """Hashes of the contents of unanswered writes since the last successful one."""

    def read(self) -> tuple[T, Etag] | None:
        """Return the stored value and its version, None if there is none. `save` does not build on this version.

        Raises Unavailable, and what `parse` raises.
        """
        try:
            blob = self._store.get(self.key)
        except NotFound:
            return None
        return self._parse(blob.data), blob.etag

    def load(self) -> T | None:
        """Return the stored value, None if there is none. The next `save` replaces this version.

        Raises Unavailable, and what `parse` raises.
        """
        found = self.read()
        self.etag = None if found is None else found[1]
        return None if found is None else found[0]

    def save(self, value: T) -> None:
        """Replace the version that was loaded or saved last.

        Raises PreconditionFailed if another process wrote since then, and Unavailable: then `value` may or may not be
        stored, and another `save` is safe.
        """
        data = self._serialise(value)
        try:
            self._put(data)
        except PreconditionFailed:
            own = self._find_own(data)
            if own is None:
                raise
            self.etag, is_this_value = own
            if not is_this_value:
                self._put(data)
        self._unanswered.clear()

    def update(self, change: Callable[[T | None], T | None]) -> T | None:
        """Load, change and save; repeat if another process wrote in between. `change` returns None to change nothing.

        Returns the saved value, or None. Raises Unavailable, and what `parse` and `change` raise.
        """
        for attempt in range(_TRIES):
            changed = change(self.load())
            if changed is None:
                return None
            try:
                self.save(changed)
            except PreconditionFailed:
                self._pause(compute_backoff(attempt, base_s=_FIRST_PAUSE_S, cap_s=_LONGEST_PAUSE_S, jitter=1.0))
            else:
                return changed
        raise Unavailable(f"{self.key} in the store changes too often to be written; it is safe to try again")

    def _put(self, data: bytes) -> None:
        condition = IfAbsent() if self.etag is None else IfMatch(self.etag)
        try:
            self.etag = self._store.put(self.key, data, content_type=self._content_type, condition=condition)
        except Unavailable:
            self._unanswered.add(_hash(data))
            raise

    def _find_own(self, data: bytes) -> tuple[Etag, bool] | None:
        """Return the stored version, and whether it is `data`. Return None if this process did not write it."""
        try:
            blob = self._store.get(self.key)
        except NotFound:
            return None
        if _hash(blob.data) not in self._unanswered:
            return None
        return blob.etag, blob.data == data


def _hash(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
