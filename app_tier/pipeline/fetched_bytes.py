"""Bounds the bytes of images that were fetched and are not decoded yet.

1. A read asks for room as soon as it knows the object's size, and before it reads the bytes.
2. Room is given in the order of asking, so small images do not keep a large one waiting for ever.
3. An image that is larger than the whole bound is admitted while no other is held. So no image waits for ever.
4. An image counts for an eighth more than its size (`overhead`): so much more may a buffer take that grows while it is
   read.
5. Nobody waits for room while holding some: an image that asks again gives back what it holds first. Those that hold
   room go on to the decoders without asking for anything, so they free it.
"""

from __future__ import annotations

import threading
import time
from collections import deque

_POLL_S = 0.1
"""How often those that wait look whether this worker drains."""


class Draining(Exception):
    """This worker drains, so no more images are read."""


class FetchedBytes:
    """Safe for several threads. `limit` is in bytes. Once `draining` is set, nobody waits."""

    def __init__(self, limit: int, draining: threading.Event, overhead: float = 0.0) -> None:
        self._limit = limit
        self._overhead = overhead
        self._draining = draining
        self._held = 0
        self._most_held = 0
        self._line: deque[ImageBytes] = deque()
        self._changed = threading.Condition()

    @property
    def held(self) -> int:
        """The bytes that are held now."""
        return self._held

    @property
    def most_held(self) -> int:
        """The most bytes that were held at any time."""
        return self._most_held

    def image(self) -> ImageBytes:
        """Return the share of one image, which holds nothing yet."""
        return ImageBytes(self)

    def _admit(self, image: ImageBytes, size: int) -> None:
        size += round(size * self._overhead)
        with self._changed:
            self._give_back(image)
            self._line.append(image)
            try:
                while not (self._line[0] is image and (not self._held or self._held + size <= self._limit)):
                    if self._draining.is_set():
                        raise Draining
                    self._changed.wait(_POLL_S)
                self._held += size
                self._most_held = max(self._most_held, self._held)
                image.size = size
            finally:
                self._line.remove(image)
                if self._line:
                    self._changed.notify_all()

    def _release(self, image: ImageBytes) -> None:
        with self._changed:
            self._give_back(image)

    def _give_back(self, image: ImageBytes) -> None:
        self._held -= image.size
        image.size = 0
        if self._line:
            self._changed.notify_all()


class ImageBytes:
    """The room that one image holds. `waited_s` is how long it has waited for it."""

    __slots__ = ("_all", "size", "waited_s")

    def __init__(self, all_: FetchedBytes) -> None:
        self._all = all_
        self.size = 0
        self.waited_s = 0.0

    def admit(self, size: int) -> None:
        """Wait for room for `size` bytes, in place of what this image held before. Raises Draining."""
        started = time.perf_counter()
        self._all._admit(self, size)
        self.waited_s += time.perf_counter() - started

    def release(self) -> None:
        """Give the room back. Harmless if there is none."""
        if self.size:
            self._all._release(self)
