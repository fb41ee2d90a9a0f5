"""Decodes one suspicious image at a time in a process of its own, which may crash or hang without harm.

A message that was received before and never finished may be what killed its worker. The child reads frames
(the side that is wanted, the length, the upload) and answers with a status byte and the decoded picture or a sentence.
"""

from __future__ import annotations

import os
import select
import struct
import subprocess
import sys
import time
from typing import BinaryIO

from PIL import Image

from app_tier.images import DecodeBudget, Decoder
from core.errors import BadImage
from core.interpreter import module_command

_HEADER = struct.Struct(">IQ")  # side, bytes that follow
_ANSWER = struct.Struct(">BIIQ")  # status, width, height, bytes that follow
_OK, _BAD = 0, 1
_SPARE_BYTES = 1 << 30  # address space beyond the decode budget: the interpreter, libraries, allocator's arenas


class IsolatedDecoder:
    """Like Decoder, but what crashes, hangs or eats memory costs only the child. Used by one thread."""

    def __init__(self, memory_mb: int, timeout_s: float) -> None:
        self._command = module_command("app_tier.isolation", str(memory_mb))
        self._timeout_s = timeout_s
        self._child: subprocess.Popen[bytes] | None = None

    def decode(self, data: bytes, side: int) -> Image.Image:
        """Raises BadImage, also when the child crashed or took longer than the time limit."""
        child = self._running()
        try:
            status, width, height, body = _exchange(child, data, side, time.monotonic() + self._timeout_s)
        except TimeoutError:
            self.close()
            raise BadImage(f"decoding it took longer than {self._timeout_s:.0f} s") from None
        except (EOFError, OSError):
            self.close()
            raise BadImage("decoding it crashed the decoder; the file is probably damaged on purpose") from None
        if status == _BAD:
            raise BadImage(body.decode())
        return Image.frombytes("RGB", (width, height), body)

    def close(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None

    def _running(self) -> subprocess.Popen[bytes]:
        if self._child is None or self._child.poll() is not None:
            self.close()
            self._child = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603  # our own module
        return self._child


def _exchange(child: subprocess.Popen[bytes], data: bytes, side: int, deadline: float) -> tuple[int, int, int, bytes]:
    """Raises TimeoutError, EOFError if the child ended, OSError."""
    assert child.stdin is not None  # noqa: S101  # both are pipes
    assert child.stdout is not None  # noqa: S101
    _write(child.stdin.fileno(), _HEADER.pack(side, len(data)) + data, deadline)
    output = child.stdout.fileno()
    status, width, height, size = _ANSWER.unpack(_read(output, _ANSWER.size, deadline))
    return status, width, height, _read(output, size, deadline)


def _write(handle: int, data: bytes, deadline: float) -> None:
    os.set_blocking(handle, False)
    rest = memoryview(data)
    while rest:
        _wait([], [handle], deadline)
        rest = rest[os.write(handle, rest[: 1 << 16]) :]


def _read(handle: int, size: int, deadline: float) -> bytes:
    found = bytearray()
    while len(found) < size:
        _wait([handle], [], deadline)
        piece = os.read(handle, min(size - len(found), 1 << 20))
        if not piece:
            raise EOFError
        found += piece
    return bytes(found)


def _wait(readable: list[int], writable: list[int], deadline: float) -> None:
    left = deadline - time.monotonic()
    if left <= 0 or not any(select.select(readable, writable, [], left)):
        raise TimeoutError


def _serve(memory_mb: int, source: BinaryIO, sink: BinaryIO) -> None:
    budget = DecodeBudget(memory_mb)
    while header := source.read(_HEADER.size):
        side, size = _HEADER.unpack(header)
        try:
            picture = Decoder(side, budget).decode(source.read(size))
        except BadImage as error:
            body = str(error).encode()
            sink.write(_ANSWER.pack(_BAD, 0, 0, len(body)) + body)
        else:
            body = picture.tobytes()
            sink.write(_ANSWER.pack(_OK, *picture.size, len(body)) + body)
        sink.flush()


def _limit_memory(memory_mb: int) -> None:
    import resource  # not on every system: only this child needs it

    limit = memory_mb * 1_000_000 + _SPARE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    _limit_memory(int(sys.argv[1]))
    _serve(int(sys.argv[1]), sys.stdin.buffer, sys.stdout.buffer)
