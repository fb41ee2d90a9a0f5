"""Sizes of pictures for exports: those in the results, and for older results those of the originals.

A stranger's file is read by a child process: one that crashes or hangs its decoder costs that child and that size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext

from core.errors import NotFound, Unreadable
from core.imaging.sandbox import Failed, Sandbox
from core.storage.originals import Originals
from web_tier.catalog.batches import Image

Size = tuple[int, int]
"""Width and height in pixels; (0, 0) where nobody can tell."""

SizesOf = Callable[[Sequence[Image]], Iterable[Size]]
"""The sizes of these images, in their order. Raises Unavailable."""

OpenSizes = Callable[[], AbstractContextManager[SizesOf]]

UNKNOWN: Size = (0, 0)

_READ_S = 10.0
_MEMORY_MB = 64
"""More than any header takes."""
_AT_ONCE = 8
"""Originals that are fetched at the same time, and held."""


def told(image: Image) -> Size:
    """Return the size that the worker read."""
    return (image.width, image.height) if image.width and image.height else UNKNOWN


def only_told() -> AbstractContextManager[SizesOf]:
    """Give the sizes that workers read, and read no original."""
    return nullcontext(lambda images: map(told, images))


def with_originals(originals: Originals, command: Sequence[str] | None = None) -> OpenSizes:
    """Give the sizes that workers read, and read the others from the originals.

    `command` starts another child than the sandbox's own. Raises Unavailable where an original cannot be fetched now.
    """

    @contextmanager
    def opened() -> Iterator[SizesOf]:
        sandbox = Sandbox(_MEMORY_MB, _READ_S, command=command)
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="sizes") as pool:

            def sizes(images: Sequence[Image]) -> Iterator[Size]:
                found = {image.id: told(image) for image in images}
                unknown = [image for image in images if found[image.id] == UNKNOWN]
                for start in range(0, len(unknown), _AT_ONCE):
                    group = unknown[start:][:_AT_ONCE]
                    for image, data in zip(group, pool.map(lambda one: _original(originals, one), group), strict=True):
                        found[image.id] = _read(sandbox, data) if data else UNKNOWN
                return iter(found[image.id] for image in images)

            try:
                yield sizes
            finally:
                sandbox.close()

    return opened


def _original(originals: Originals, image: Image) -> bytes:
    """Return b"" if the original is gone or was replaced."""
    try:
        return originals.of_image(image.key, image.batch_id, image.id).data
    except (NotFound, Unreadable):
        return b""


def _read(sandbox: Sandbox, data: bytes) -> Size:
    try:
        return sandbox.size(data) or UNKNOWN
    except Failed:
        return UNKNOWN
