"""Thumbnails: made when first asked for, and kept in the store.

Strangers' images are decoded by a child process with little memory and little time. One that makes a decoder
crash or hang costs that child, and a placeholder.
"""

from __future__ import annotations

import struct
import subprocess
import threading
from collections.abc import Sequence

from core import layout
from core.errors import NotFound, Unavailable, Unreadable
from core.interpreter import module_command
from core.notifications import image_id, split_address
from core.originals import Originals
from core.ports import Blob, ObjectStore
from core.telemetry import logger
from web_tier.catalog import Image

_DECODER = tuple(module_command("web_tier.thumbnail_decoder"))
_LENGTH = struct.Struct(">I")
_DECODE_S = 10.0
_QUEUE_S = 20.0


class Thumbnails:
    """Makes one at a time, whatever number of threads ask: the processor is there for the taggers."""

    def __init__(
        self,
        store: ObjectStore,
        originals: Originals,
        *,
        decoder: Sequence[str] = _DECODER,
        timeout_s: float = _DECODE_S,
    ) -> None:
        self._store = store
        self._originals = originals
        self._decoder = _Decoder(decoder, timeout_s)
        self._turn = threading.Lock()

    def jpeg(self, image: Image) -> bytes | None:
        """The thumbnail as a JPEG; None where the image cannot be shown. Raises Unavailable."""
        key = layout.thumbnail_key(image.batch_id, image.id)
        kept = self._kept(key)
        if kept is not None:
            return kept or None
        if not self._turn.acquire(timeout=_QUEUE_S):
            raise Unavailable("too many thumbnails are being made")
        try:
            kept = self._kept(key)  # by the one before us, perhaps
            return (self._make(key, image) if kept is None else kept) or None
        finally:
            self._turn.release()

    def close(self) -> None:
        self._decoder.stop()

    def _kept(self, key: str) -> bytes | None:
        try:
            return self._store.get(key).data
        except NotFound:
            return None

    def _make(self, key: str, image: Image) -> bytes:
        """An image that the decoder refuses leaves an empty object, and is not tried again."""
        try:
            original = self._originals.read(image.key)
        except (NotFound, Unreadable):
            return b""  # refused at its upload, or taken out of its bucket
        if _replaced(image, original):
            return b""
        made = self._decoder.decode(original.data)
        if made is None:
            logger().warning("no thumbnail: the decoder crashed or took too long", image=image.id)
            return b""
        try:
            self._store.put(key, made, content_type="image/jpeg")
        except Unavailable as error:
            logger().warning("a thumbnail could not be kept", image=image_id, reason=str(error))
        return made


def _replaced(image: Image, original: Blob) -> bool:
    """Whether another picture lies there now than the one that was tagged."""
    return image.origin is not None and image_id(*split_address(image.origin), original.etag) != image.id


class _Decoder:
    """The child process; started when first needed, and again after its death. It ends when its input does."""

    def __init__(self, command: Sequence[str], timeout_s: float) -> None:
        self._command = command
        self._timeout_s = timeout_s
        self._process: subprocess.Popen[bytes] | None = None

    def decode(self, image: bytes) -> bytes | None:
        """The JPEG, b"" where the image is none that can be shown, None where the child died of it."""
        process = self._started()
        source, sink = process.stdout, process.stdin
        assert source is not None  # noqa: S101  # both are pipes
        assert sink is not None  # noqa: S101
        watch = threading.Timer(self._timeout_s, process.kill)
        watch.start()
        try:
            sink.write(_LENGTH.pack(len(image)))
            sink.write(image)
            sink.flush()
            head = source.read(_LENGTH.size)
            (length,) = _LENGTH.unpack(head)
            made = source.read(length)
        except (OSError, struct.error):
            made, length = b"", 1
        finally:
            watch.cancel()
        if len(made) != length:
            self.stop()
            return None
        return made

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.stop()
            self._process = subprocess.Popen(  # noqa: S603  # our own module
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # decoders in C chatter there about damaged images
            )
        return self._process
