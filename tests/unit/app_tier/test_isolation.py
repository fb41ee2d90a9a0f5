"""The child process that decodes alone."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import termios
import threading
from collections.abc import Callable, Iterator

import pytest

from app_tier.pipeline.isolation import IsolatedDecoder
from bench.deployment import wait_until
from core.errors import BadImage


@pytest.fixture
def decoder() -> Iterator[IsolatedDecoder]:
    decoder = IsolatedDecoder(memory_mb=100, timeout_s=120)
    yield decoder
    decoder.close()


def test_decodes_like_the_ordinary_one(decoder: IsolatedDecoder, picture: Callable[..., bytes]) -> None:
    image = decoder.decode(picture("lime", (40, 30)), 16)
    assert image.size == (40, 30)
    assert image.getpixel((3, 3)) == (0, 255, 0)
    with pytest.raises(BadImage, match="the file is empty"):
        decoder.decode(b"", 16)
    assert decoder.decode(picture("red", (9, 9)), 16).getpixel((3, 3)) == (255, 0, 0)


def kill_when_it_is_given_something(child: subprocess.Popen[bytes]) -> None:
    assert child.stdin is not None
    wait_until(lambda: any(fcntl.ioctl(child.stdin, termios.FIONREAD, bytes(4))))
    child.kill()


def test_a_crash_costs_one_image(decoder: IsolatedDecoder, picture: Callable[..., bytes]) -> None:
    large = picture("red", (2000, 2000), compress_level=0)
    decoder.decode(picture(), 16)
    assert decoder._child is not None
    os.kill(decoder._child.pid, signal.SIGSTOP)  # so that it is killed in the middle of the next image
    killer = threading.Thread(target=kill_when_it_is_given_something, args=(decoder._child,))
    killer.start()
    with pytest.raises(BadImage, match="crashed the decoder"):
        decoder.decode(large, 16)
    killer.join()
    assert decoder.decode(picture(), 16).size == (32, 24)


def test_a_hang_costs_one_image(picture: Callable[..., bytes]) -> None:
    decoder = IsolatedDecoder(memory_mb=100, timeout_s=0.001)
    with pytest.raises(BadImage, match="took longer than"):
        decoder.decode(picture(), 16)
    decoder.close()
