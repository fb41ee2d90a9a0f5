"""Room for the bytes of images: never exceeded, given in order, and nobody waits for ever."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from app_tier.pipeline.fetched_bytes import Draining, FetchedBytes, ImageBytes
from bench.deployment import wait_until


class Reader:
    """A thread that asks for room."""

    def __init__(self, fetched: FetchedBytes, size: int) -> None:
        self.image = fetched.image()
        self.admitted = False
        self.drained = False
        self._size = size
        self.thread = threading.Thread(target=self._read, daemon=True)
        before = len(fetched._line)
        self.thread.start()
        wait_until(lambda: self.admitted or len(fetched._line) > before)

    def _read(self) -> None:
        try:
            self.image.admit(self._size)
        except Draining:
            self.drained = True
        else:
            self.admitted = True


@pytest.fixture
def draining() -> threading.Event:
    return threading.Event()


@pytest.fixture
def fetched(draining: threading.Event) -> FetchedBytes:
    return FetchedBytes(100, draining)


def holding(fetched: FetchedBytes, size: int) -> ImageBytes:
    image = fetched.image()
    image.admit(size)
    return image


def admitted(reader: Reader) -> Callable[[], bool]:
    return lambda: reader.admitted


def test_bytes_beyond_the_bound_wait_for_room(fetched: FetchedBytes) -> None:
    first, second = holding(fetched, 60), holding(fetched, 40)
    third = Reader(fetched, 30)
    assert not third.admitted
    second.release()
    wait_until(admitted(third))
    assert (fetched.held, fetched.most_held) == (90, 100)
    assert third.image.waited_s > 0
    first.release()
    first.release()
    assert fetched.held == 30


def test_small_images_do_not_overtake_a_large_one(fetched: FetchedBytes) -> None:
    first = holding(fetched, 60)
    large, small = Reader(fetched, 90), Reader(fetched, 10)
    assert not small.admitted
    first.release()
    wait_until(admitted(large))
    wait_until(admitted(small))


def test_an_image_larger_than_the_bound_is_admitted_alone(fetched: FetchedBytes) -> None:
    small = holding(fetched, 10)
    large = Reader(fetched, 500)
    assert not large.admitted
    small.release()
    wait_until(admitted(large))
    next_ = Reader(fetched, 1)
    assert not next_.admitted
    large.image.release()
    wait_until(admitted(next_))


def test_an_image_that_asks_again_gives_back_what_it_holds(fetched: FetchedBytes) -> None:
    """A read that broke off, or one of another name for the same file: it must not wait for itself."""
    image = holding(fetched, 80)
    image.admit(90)
    assert fetched.held == 90


def test_nobody_waits_while_draining(fetched: FetchedBytes, draining: threading.Event) -> None:
    first = holding(fetched, 100)
    waiting = [Reader(fetched, 1) for _ in range(3)]
    draining.set()
    for reader in waiting:
        reader.thread.join(120)
        assert reader.drained
    assert fetched.held == 100
    first.release()
    assert fetched.held == 0


def test_an_image_takes_more_than_its_size_while_it_is_read(draining: threading.Event) -> None:
    fetched = FetchedBytes(100, draining, overhead=0.125)
    holding(fetched, 40)
    assert fetched.held == 45
