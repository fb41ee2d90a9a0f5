"""The bytes of an image, wherever they lie: in the store, or in the bucket where somebody put them."""

from __future__ import annotations

from collections.abc import Callable

from core.ports import Blob, ObjectStore, Source


class Originals:
    """`source` is opened when an address is first asked for; of its objects none larger than `max_bytes` is read."""

    def __init__(self, store: ObjectStore, source: Callable[[], Source], max_bytes: int) -> None:
        self._store = store
        self._source = source
        self._max_bytes = max_bytes

    def read(self, key: str) -> Blob:
        """`key` is one of the store's, or `s3://BUCKET/KEY`.

        Raises NotFound, Unreadable, Unavailable, and ValueError for what is neither.
        """
        if "://" in key:
            return self._source().read(key, self._max_bytes)
        return self._store.get(key)
