"""What this process is decoding and tagging right now, in a file that outlives the process.

A process that is killed or crashes says nothing. Its successor on the same machine finds the file, sees by its lock
that the writer is dead, and knows which images were in a decoder's or the tagger's hands at that moment.

1. A slot is 128 bytes: a letter for the stage, then the image's id. Entering and leaving it are one `pwrite` each, a
   few microseconds: the page cache survives the process, and nothing is flushed to the disk.
2. A writer that ends in order removes its file. A machine that ends as a whole takes the file with it; then only the
   messages' receive counts tell.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from core import telemetry

_SLOT = 128
_SUFFIX = ".in-hand"
_EMPTY = bytes(_SLOT)
_DECODING, _TAGGING = b"d", b"t"


@dataclass(frozen=True, slots=True)
class Remains:
    """Ids of the images that dead processes had in hand, by stage."""

    decoding: frozenset[str] = frozenset()
    tagging: frozenset[str] = frozenset()


class Ledger:
    """Safe for several threads. Without a folder, or where the file can't be written, it notes nothing."""

    def __init__(self, folder: Path | None, name: str) -> None:
        self._path = folder / f"{name}-{os.getpid()}{_SUFFIX}" if folder else None
        self._fd = -1
        self._free: list[int] = []
        self._slots = 0
        self._lock = threading.Lock()
        if self._path is not None:
            self._open(self._path)

    def close(self) -> None:
        """Remove the file: everything that was in hand has ended in order."""
        with self._lock:
            fd, self._fd = self._fd, -1
        if fd >= 0 and self._path is not None:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
            os.close(fd)

    @contextmanager
    def decoding(self, image_id: str) -> Iterator[None]:
        """Note for as long as this lasts that the image is being decoded."""
        with self._noted(_DECODING, [image_id]):
            yield

    @contextmanager
    def tagging(self, image_ids: Sequence[str]) -> Iterator[None]:
        """Note for as long as this lasts that the tagger has these images."""
        with self._noted(_TAGGING, image_ids):
            yield

    @contextmanager
    def _noted(self, stage: bytes, image_ids: Sequence[str]) -> Iterator[None]:
        slots = self._take(len(image_ids))
        for slot, image_id in zip(slots, image_ids, strict=True):
            self._write(slot, (stage + image_id.encode())[:_SLOT].ljust(_SLOT, b"\0"))
        try:
            yield
        finally:
            for slot in slots:
                self._write(slot, _EMPTY)
            with self._lock:
                self._free += slots

    def _take(self, count: int) -> list[int]:
        with self._lock:
            while len(self._free) < count:
                self._free.append(self._slots)
                self._slots += 1
            return [self._free.pop() for _ in range(count)]

    def _write(self, slot: int, entry: bytes) -> None:
        if self._fd >= 0:
            with suppress(OSError):  # a full disk: the images come back all the same, and are decoded apart
                os.pwrite(self._fd, entry, slot * _SLOT)

    def _open(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            telemetry.logger().warning("what is in hand is not noted", file=str(path), why=error.strerror)


def take_remains(folder: Path | None) -> Remains:
    """Read and remove the files of processes that ended without removing them. Unreadable ones are skipped.

    Where one was decoding, that is taken for its end, and what its tagger had is left out: if it was the tagger after
    all, the next process decodes in children, and its end will tell.
    """
    decoding: set[str] = set()
    tagging: set[str] = set()
    for path in sorted(folder.glob(f"*{_SUFFIX}")) if folder else ():
        with suppress(OSError), path.open("rb") as file:
            if not _is_free(file.fileno()):
                continue
            found: dict[bytes, set[str]] = {_DECODING: set(), _TAGGING: set()}
            for entry in iter(lambda file=file: file.read(_SLOT), b""):  # type: ignore[misc]  # bound at once
                if entry[:1] in found:
                    found[entry[:1]].add(entry[1:].rstrip(b"\0").decode("utf-8", "replace"))
            decoding |= found[_DECODING]
            tagging |= set() if found[_DECODING] else found[_TAGGING]
            path.unlink(missing_ok=True)
    return Remains(frozenset(decoding), frozenset(tagging))


def _is_free(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
