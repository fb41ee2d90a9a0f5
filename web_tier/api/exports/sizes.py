"""Sizes of pictures for exports: those that workers told, and for older results those of the originals.

A stranger's file is read by a child process: one that makes a decoder crash or hang costs that child, and its size.
"""

from __future__ import annotations

import struct
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext

from core.errors import NotFound, Unreadable
from core.storage.originals import Originals
from core.util.interpreter import module_command
from web_tier.api.exports.size_reader import LENGTH, SIZE
from web_tier.catalog.batches import Image

Size = tuple[int, int]
"""Width and height in pixels; (0, 0) where nobody can tell."""

SizesOf = Callable[[Sequence[Image]], Iterable[Size]]
"""The sizes of these images, in their order. Raises Unavailable."""

OpenSizes = Callable[[], AbstractContextManager[SizesOf]]

UNKNOWN: Size = (0, 0)

_COMMAND = tuple(module_command("web_tier.api.exports.size_reader"))
_READ_S = 10.0
_AT_ONCE = 8
"""Originals that are fetched at the same time, and held."""


def told(image: Image) -> Size:
    """Return the size that a worker told."""
    return (image.width, image.height) if image.width and image.height else UNKNOWN


def only_told() -> AbstractContextManager[SizesOf]:
    """Sizes without a look at any original."""
    return nullcontext(lambda images: map(told, images))


def with_originals(originals: Originals, command: Sequence[str] = _COMMAND) -> OpenSizes:
    """Sizes that workers told, the others from the originals. Raises Unavailable where one cannot be fetched now."""

    @contextmanager
    def opened() -> Iterator[SizesOf]:
        reader = _Reader(command)
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="sizes") as pool:

            def sizes(images: Sequence[Image]) -> Iterator[Size]:
                found = dict.fromkeys((image.id for image in images), UNKNOWN)
                found |= {image.id: told(image) for image in images}
                unknown = [image for image in images if found[image.id] == UNKNOWN]
                for start in range(0, len(unknown), _AT_ONCE):
                    group = unknown[start:][:_AT_ONCE]
                    for image, data in zip(group, pool.map(lambda one: _original(originals, one), group), strict=True):
                        found[image.id] = reader.size(data) if data else UNKNOWN
                return iter(found[image.id] for image in images)

            try:
                yield sizes
            finally:
                reader.stop()

    return opened


def _original(originals: Originals, image: Image) -> bytes:
    """Empty where the original is gone or another one by now."""
    try:
        return originals.of_image(image.key, image.batch_id, image.id).data
    except (NotFound, Unreadable):
        return b""


class _Reader:
    """The child process; started when first needed, and again after its death."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    def size(self, data: bytes) -> Size:
        process = self._started()
        source, sink = process.stdout, process.stdin
        assert source is not None  # noqa: S101  # both are pipes
        assert sink is not None  # noqa: S101
        watch = threading.Timer(_READ_S, process.kill)
        watch.start()
        try:
            sink.write(LENGTH.pack(len(data)))
            sink.write(data)
            sink.flush()
            width, height = SIZE.unpack(source.read(SIZE.size))
        except (OSError, struct.error):
            self.stop()
            return UNKNOWN
        finally:
            watch.cancel()
        return width, height

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._process = subprocess.Popen(  # noqa: S603  # our own module
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # decoders in C chatter there about damaged images
            )
        return self._process
