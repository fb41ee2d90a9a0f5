"""Make thumbnails when they are first asked for, and keep them in the store.

A child process with little memory and little time decodes the images (`core.imaging.sandbox`), with the taggers'
decoder. An image that makes it crash or hang costs one child process, and has a placeholder from then on.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from core.errors import BadImage, NotFound, Unavailable, Unreadable
from core.imaging.sandbox import Failed, Sandbox
from core.storage import layout
from core.storage.originals import Originals
from core.storage.ports import ObjectStore
from core.telemetry import logger
from web_tier.catalog.batches import Image
from web_tier.server.host_memory import HostLock

SIZE = 256
"""Pixels at the longer side."""

_DECODE_S = 20.0
_QUEUE_S = 20.0
_MEMORY_MB = 600
_NICENESS = 5
_RETRY_S = 600.0
_REMEMBERED = 10_000
"""Images whose last attempt failed for a reason that may pass; each is left alone for `_RETRY_S`."""


class Thumbnails:
    """Makes one thumbnail at a time, however many threads ask: the processor is for the taggers.

    `turn` is held by who makes one, in whatever process of this host.
    """

    def __init__(
        self,
        store: ObjectStore,
        originals: Originals,
        *,
        turn: HostLock,
        decoder: Sequence[str] | None = None,
        timeout_s: float = _DECODE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._originals = originals
        self._sandbox = Sandbox(_MEMORY_MB, timeout_s, niceness=_NICENESS, command=decoder)
        self._turn = turn
        self._clock = clock
        self._retry_at: OrderedDict[str, float] = OrderedDict()

    def jpeg(self, image: Image) -> bytes | None:
        """Return the thumbnail as a JPEG; None if the image cannot be shown. Raises Unavailable."""
        key = layout.thumbnail_key(image.batch_id, image.id)
        kept = self._kept(key)
        if kept is not None:
            return kept or None
        if not self._turn.acquire(_QUEUE_S):
            raise Unavailable("too many thumbnails are being made")
        try:
            kept = self._kept(key)  # another one may have made it meanwhile
            return (self._make(key, image) if kept is None else kept) or None
        finally:
            self._turn.release()

    def close(self) -> None:
        """End the child process."""
        self._sandbox.close()

    def _kept(self, key: str) -> bytes | None:
        try:
            return self._store.get(key).data
        except NotFound:
            return None

    def _make(self, key: str, image: Image) -> bytes:
        """Return the JPEG, or b"" if there is none. An image that would fail again gets an empty object."""
        if self._clock() < self._retry_at.get(key, 0.0):
            return b""
        try:
            original = self._originals.of_image(image.key, image.batch_id, image.id)
        except (NotFound, Unreadable):
            return b""  # refused at its upload, removed from its bucket, or replaced by another file
        try:
            made = self._sandbox.thumbnail(original.data, SIZE)
        except BadImage:
            made = b""
        except Failed as error:
            logger().warning("no thumbnail", image=image.id, why=str(error))
            if not error.lasting:
                self._remember(key)
                return b""
            made = b""
        try:
            self._store.put(key, made, content_type="image/jpeg")
        except Unavailable as error:
            logger().warning("a thumbnail could not be kept", image=image.id, reason=str(error))
        return made

    def _remember(self, key: str) -> None:
        """Skip an image for a while whose decoder lacked memory or was killed: the image may not be the cause."""
        self._retry_at[key] = self._clock() + _RETRY_S
        while len(self._retry_at) > _REMEMBERED:
            self._retry_at.popitem(last=False)
