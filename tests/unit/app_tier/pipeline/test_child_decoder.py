"""Decoding in a child process."""

from __future__ import annotations

import fcntl
import os
import signal
import termios
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app_tier.pipeline.child_decoder import ChildDecoder
from bench.deployment import wait_until
from core.errors import BadImage
from tests.unit.app_tier.pipeline.children import decoding_children


@pytest.fixture
def decoder() -> Iterator[ChildDecoder]:
    decoder = ChildDecoder(100, 120)
    yield decoder
    decoder.close()


def test_decodes_like_the_decoder_in_this_process(decoder: ChildDecoder, picture: Callable[..., bytes]) -> None:
    image = decoder.decode(picture("lime", (40, 30)), 16)
    assert image.size == (40, 30)
    assert image.getpixel((3, 3)) == (0, 255, 0)
    with pytest.raises(BadImage, match="the file is empty"):
        decoder.decode(b"", 16)
    assert decoder.decode(picture("red", (9, 9)), 16).getpixel((3, 3)) == (255, 0, 0)


def child_pid() -> int:
    """The process id of the only decoding child of this process."""
    (pid,) = decoding_children()
    return pid


def kill_when_it_is_given_something(pid: int) -> None:
    with Path(f"/proc/{pid}/fd/0").open("rb") as given:
        wait_until(lambda: any(fcntl.ioctl(given, termios.FIONREAD, bytes(4))))
    os.kill(pid, signal.SIGKILL)


def test_a_crash_costs_one_image(decoder: ChildDecoder, picture: Callable[..., bytes]) -> None:
    large = picture("red", (2000, 2000), compress_level=0)
    decoder.decode(picture(), 16)
    pid = child_pid()
    os.kill(pid, signal.SIGSTOP)  # so that it is killed in the middle of the next image
    killer = threading.Thread(target=kill_when_it_is_given_something, args=(pid,))
    killer.start()
    with pytest.raises(BadImage, match="crashed the decoder"):
        decoder.decode(large, 16)
    killer.join()
    assert decoder.decode(picture(), 16).size == (32, 24)


def test_a_hang_costs_one_image(picture: Callable[..., bytes]) -> None:
    decoder = ChildDecoder(100, 120, timeout_s=0.001)
    with pytest.raises(BadImage, match="took longer than"):
        decoder.decode(picture(), 16)
    decoder.close()
