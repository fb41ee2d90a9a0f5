"""Decodes one image at a time in a child process with limited memory and time, which may crash or hang without harm.

The child reads requests: a kind, the side, the length, the upload. It answers each with a status, sizes, and the
pixels, the JPEG or the sentence for the owner. The parent starts it at the first request, and again after its death. It
ends when its input ends.
"""

from __future__ import annotations

import io
import math
import os
import select
import signal
import struct
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Sequence
from typing import BinaryIO

from PIL import Image

from core.errors import BadImage, TagfleetError
from core.imaging import damage
from core.imaging.decode import SECONDS, UPRIGHT_SIZE, DecodeBudget, Decoder
from core.imaging.orientation import Size, read_upright_size
from core.util.interpreter import module_command

REQUEST = struct.Struct(">BIQ")
"""Kind of request, side in pixels, number of bytes that follow."""
ANSWER = struct.Struct(">BIIIIQ")
"""Status, width and height, upright width and height of the whole picture, number of bytes that follow."""
PIXELS, THUMBNAIL, SIZE = 0, 1, 2
"""Kinds of requests: RGB for tagging, of at least `side` pixels at the shorter side; a JPEG of at most `side` pixels at
the longer side; only the upright size of the whole picture, from its header."""
OK, BAD, NO_MEMORY = 0, 1, 2

_SPARE_BYTES = 1 << 30  # address space beyond the decode budget: the interpreter, libraries, allocator's arenas
_NO_SIZE = (0, 0)
_QUALITY = 80
_PARENT_POLL_S = 1.0


class Failed(TagfleetError):
    """The child could not answer. `lasting`: another try would fail too. `lost`: the child has ended."""

    def __init__(self, sentence: str, *, lasting: bool, lost: bool = True) -> None:
        super().__init__(sentence)
        self.lasting = lasting
        self.lost = lost


class Sandbox:
    """The parent's side of the child. Use it in one thread at a time; another thread may call `close`."""

    def __init__(
        self,
        memory_mb: int,
        timeout_s: float,
        *,
        seconds: float = SECONDS,
        niceness: int = 0,
        command: Sequence[str] | None = None,
    ) -> None:
        """The child refuses images whose estimate exceeds `memory_mb` or `seconds`; after `timeout_s` it is killed."""
        self._command = command or (
            module_command(
                "core.imaging.sandbox", str(memory_mb), str(seconds), str(niceness), str(math.ceil(timeout_s) + 1)
            )
        )
        self._timeout_s = timeout_s
        self._child: subprocess.Popen[bytes] | None = None

    def pixels(self, data: bytes, side: int) -> Image.Image:
        """Return what `Decoder(side).decode(data)` returns. Raises BadImage, Failed."""
        size, full_size, body = self._request(PIXELS, data, side)
        image = Image.frombytes("RGB", size, body)
        image.info[UPRIGHT_SIZE] = full_size
        return image

    def thumbnail(self, data: bytes, side: int) -> bytes:
        """Return a JPEG of at most `side` pixels, upright, on white. Raises BadImage, Failed."""
        return self._request(THUMBNAIL, data, side)[2]

    def size(self, data: bytes) -> Size | None:
        """Return what `read_upright_size(data)` returns. Raises Failed."""
        full_size = self._request(SIZE, data, 0)[1]
        return full_size if all(full_size) else None

    def close(self) -> None:
        """End the child. A running decode fails, which says nothing about its image."""
        self._end()

    def _request(self, wanted: int, data: bytes, side: int) -> tuple[tuple[int, int], tuple[int, int], bytes]:
        child = self._running_child()
        try:
            status, size, full_size, body = _exchange(child, wanted, data, side, time.monotonic() + self._timeout_s)
        except TimeoutError:
            self._end()
            raise Failed(damage.TOOK_TOO_LONG.format(limit=self._timeout_s), lasting=True) from None
        except (EOFError, OSError, ValueError, struct.error):  # ValueError: its pipes were closed meanwhile
            lasting = _crashed(child)
            self._end()
            raise Failed(damage.CRASHED, lasting=lasting) from None
        if status == NO_MEMORY:
            raise Failed(damage.NO_MEMORY, lasting=False, lost=False)
        if status == BAD:
            raise BadImage(body.decode())
        return size, full_size, body

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.communicate()

    def _running_child(self) -> subprocess.Popen[bytes]:
        if self._child is None or self._child.poll() is not None:
            self._end()
            self._child = subprocess.Popen(  # noqa: S603  # our own module
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # decoders in C write about damaged images there
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # each thread would reserve address space
            )
        return self._child


_FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def _crashed(child: subprocess.Popen[bytes]) -> bool:
    """Return whether the child ended by itself, not by a signal from outside or by the kernel for lack of memory."""
    try:
        return -child.wait(timeout=10) not in _FROM_OUTSIDE
    except subprocess.TimeoutExpired:
        return True  # it closed its output and still lives, so it no longer follows our protocol


def _exchange(
    child: subprocess.Popen[bytes], wanted: int, data: bytes, side: int, deadline: float
) -> tuple[int, tuple[int, int], tuple[int, int], bytes]:
    """Send one request and read its answer. Raises TimeoutError, EOFError if the child ended, OSError."""
    assert child.stdin is not None  # noqa: S101  # both are pipes
    assert child.stdout is not None  # noqa: S101
    _write(child.stdin.fileno(), REQUEST.pack(wanted, side, len(data)) + data, deadline)
    output = child.stdout.fileno()
    status, width, height, full_width, full_height, size = ANSWER.unpack(_read(output, ANSWER.size, deadline))
    return status, (width, height), (full_width, full_height), _read(output, size, deadline)


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


def _serve(budget: DecodeBudget, limit_s: int, source: BinaryIO, sink: BinaryIO) -> None:
    """Answer each request. A request that takes longer than `limit_s` ends this process, even without a parent."""
    while len(head := source.read(REQUEST.size)) == REQUEST.size:
        wanted, side, size = REQUEST.unpack(head)
        data = source.read(size)
        signal.alarm(limit_s)
        sink.write(_answer(wanted, side, data, budget))
        sink.flush()
        signal.alarm(0)


def _answer(wanted: int, side: int, data: bytes, budget: DecodeBudget) -> bytes:
    if wanted == SIZE:
        return ANSWER.pack(OK, 0, 0, *(read_upright_size(data) or _NO_SIZE), 0)
    try:
        made = _thumbnail(data, side, budget) if wanted == THUMBNAIL else Decoder(side, budget).decode(data)
    except BadImage as error:
        status = NO_MEMORY if str(error) == damage.NO_MEMORY else BAD
        body = str(error).encode()
        return ANSWER.pack(status, *_NO_SIZE, *_NO_SIZE, len(body)) + body
    body = _as_jpeg(made) if wanted == THUMBNAIL else made.tobytes()
    return ANSWER.pack(OK, *made.size, *made.info[UPRIGHT_SIZE], len(body)) + body


def _thumbnail(data: bytes, side: int, budget: DecodeBudget) -> Image.Image:
    picture = Decoder(side, budget).show(data)
    picture.thumbnail((side, side), reducing_gap=2.0)
    return picture


def _as_jpeg(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=_QUALITY)
    return out.getvalue()


def _limit(memory_mb: int, niceness: int) -> None:
    import resource  # here, as not every system has it and only this child needs it

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, whose end closes our input
    limit = memory_mb * 1_000_000 + _SPARE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(niceness)
    warnings.simplefilter("ignore")


def _end_with_parent(parent: int) -> None:
    """End this process soon after its parent, even if a decode hangs and does not see that the input has ended."""
    while os.getppid() == parent:
        time.sleep(_PARENT_POLL_S)
    os._exit(0)


def main() -> None:
    """Serve until the input or the parent process ends."""
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    memory_mb, seconds, niceness, limit_s = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    _limit(memory_mb, niceness)
    _serve(DecodeBudget(memory_mb, seconds), limit_s, sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    main()
