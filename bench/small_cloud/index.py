"""The keys of a bucket in order, for listings."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Container, Iterator


class KeyIndex:
    """Sorts new keys at the next listing. Keys that are no longer in `present` are skipped, and dropped now and then.

    So a put and a delete cost nothing, and a listing after many puts merges two sorted runs.
    """

    def __init__(self, present: Container[str]) -> None:
        self._present = present
        self._sorted: list[str] = []
        self._new: list[str] = []
        self._known: set[str] = set()
        self._skipped = 0

    def add(self, key: str) -> None:
        """Add a key, perhaps one that is there already."""
        if key not in self._known:
            self._known.add(key)
            self._new.append(key)

    def after(self, prefix: str, after: str) -> Iterator[str]:
        """Yield the present keys with this prefix that sort after `after`, in order."""
        self._merge()
        keys = self._sorted
        start = bisect_right(keys, after) if after >= prefix else bisect_left(keys, prefix)
        for position in range(start, len(keys)):
            key = keys[position]
            if not key.startswith(prefix):
                return
            if key in self._present:
                yield key
            else:
                self._skipped += 1

    def _merge(self) -> None:
        if self._skipped > len(self._sorted) // 2:
            self._sorted = [key for key in self._sorted if key in self._present]
            self._known = {*self._sorted, *self._new}
            self._skipped = 0
        if self._new:
            self._sorted += sorted(self._new)
            self._sorted.sort()
            self._new.clear()
