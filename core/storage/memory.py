"""An object store in memory, for simulated fleets and tests."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import BinaryIO

from core.errors import NotFound, PreconditionFailed
from core.storage.keys import segments_of
from core.storage.ports import Admit, Blob, Condition, Etag, IfAbsent, IfMatch, ObjectInfo, UploadForm

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class _Object:
    blob: Blob
    modified: float


class MemoryStore:
    """Keeps objects in a dictionary. Safe for several threads. A bad key raises ValueError.

    `clock` gives the Unix seconds of a change. Without it, all objects are equally old.
    """

    def __init__(self, clock: Callable[[], float] = lambda: 0.0) -> None:
        self._clock = clock
        self._objects: dict[str, _Object] = {}
        self._versions = 0
        self._lock = threading.Lock()

    def put(
        self,
        key: str,
        data: bytes | BinaryIO,
        *,
        content_type: str = "application/octet-stream",
        condition: Condition | None = None,
    ) -> Etag:
        segments_of(key)
        content = data if isinstance(data, bytes) else b"".join(iter(lambda: data.read(_CHUNK), b""))
        with self._lock:
            there = self._objects.get(key)
            if isinstance(condition, IfAbsent) and there is not None:
                raise PreconditionFailed(key)
            if isinstance(condition, IfMatch) and (there is None or there.blob.etag != condition.etag):
                raise PreconditionFailed(key)
            self._versions += 1
            etag = Etag(str(self._versions))
            self._objects[key] = _Object(Blob(content, etag, content_type), self._clock())
        return etag

    def put_all(self, objects: Mapping[str, bytes], *, content_type: str = "application/octet-stream") -> None:
        for key, data in objects.items():
            self.put(key, data, content_type=content_type)

    def get(self, key: str, admit: Admit | None = None) -> Blob:
        segments_of(key)
        there = self._objects.get(key)
        if there is None:
            raise NotFound(key)
        if admit is not None:
            admit(len(there.blob.data))
        return there.blob

    def copy(self, source: str, target: str) -> Etag:
        there = self.get(source)
        return self.put(target, there.data, content_type=there.content_type)

    def list(self, prefix: str, start_after: str = "") -> Iterator[ObjectInfo]:
        with self._lock:
            found = [item for item in self._objects.items() if item[0].startswith(prefix) and item[0] > start_after]
        for key, one in sorted(found, key=itemgetter(0)):
            yield ObjectInfo(key, len(one.blob.data), one.blob.etag, one.modified)

    def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            segments_of(key)
        with self._lock:
            for key in keys:
                self._objects.pop(key, None)

    def upload_form(self, key: str, *, content_type: str, max_bytes: int, expires_s: int) -> UploadForm | None:
        return None
