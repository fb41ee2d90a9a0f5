"""Records which images this process decodes and tags now, in a file that outlives a crash.

A process that crashes or is killed cannot report what it was doing. Its successor on the same machine finds the file,
sees by its free lock that the writer is dead, and knows which images were in a decoder or the tagger at that moment.

1. An entry is 128 bytes: a letter for the stage, then the image's id. It is written and cleared by one `pwrite` each,
   which takes a few microseconds. Nothing is flushed to disk: the page cache survives the process.
2. A process that ends normally removes its file. If the whole machine dies, the file is lost; then only the messages'
   receive counts tell that something happened.
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

_ENTRY_BYTES = 128
_SUFFIX = ".in-hand"
_EMPTY = bytes(_ENTRY_BYTES)
_DECODING, _TAGGING = b"d", b"t"


@dataclass(frozen=True, slots=True)
class CrashReport:
    """The ids of the images that dead processes were decoding and tagging."""

    decoding: frozenset[str] = frozenset()
    tagging: frozenset[str] = frozenset()


class CrashRecord:
    """Safe for several threads. Without a folder, or if the file cannot be written, it records nothing."""

    def __init__(self, folder: Path | None, name: str) -> None:
        self._path = folder / f"{name}-{os.getpid()}{_SUFFIX}" if folder else None
        self._fd = -1
        self._free: list[int] = []
        self._entries = 0
        self._lock = threading.Lock()
        if self._path is not None:
            self._open(self._path)

    def close(self) -> None:
        """Remove the file: this process ends normally."""
        with self._lock:
            fd, self._fd = self._fd, -1
        if fd >= 0 and self._path is not None:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
            os.close(fd)

    @contextmanager
    def decoding(self, image_id: str) -> Iterator[None]:
        """Record the image as being decoded while the block runs."""
        with self._record(_DECODING, [image_id]):
            yield

    @contextmanager
    def tagging(self, image_ids: Sequence[str]) -> Iterator[None]:
        """Record the images as being tagged while the block runs."""
        with self._record(_TAGGING, image_ids):
            yield

    @contextmanager
    def _record(self, stage: bytes, image_ids: Sequence[str]) -> Iterator[None]:
        entries = self._take_entries(len(image_ids))
        for entry, image_id in zip(entries, image_ids, strict=True):
            self._write(entry, (stage + image_id.encode())[:_ENTRY_BYTES].ljust(_ENTRY_BYTES, b"\0"))
        try:
            yield
        finally:
            for entry in entries:
                self._write(entry, _EMPTY)
            with self._lock:
                self._free += entries

    def _take_entries(self, count: int) -> list[int]:
        with self._lock:
            while len(self._free) < count:
                self._free.append(self._entries)
                self._entries += 1
            return [self._free.pop() for _ in range(count)]

    def _write(self, entry: int, content: bytes) -> None:
        if self._fd >= 0:
            with suppress(OSError):  # on a full disk: without a record, images that come back are decoded in children
                os.pwrite(self._fd, content, entry * _ENTRY_BYTES)

    def _open(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            telemetry.logger().warning("the crash record cannot be written", file=str(path), why=error.strerror)


def collect_crash_report(folder: Path | None) -> CrashReport:
    """Read and remove the files of dead processes. Unreadable ones are skipped.

    If a process was decoding, the decoder is blamed, and the images in its tagger are left out. If it was the tagger
    after all, the next process decodes in children, and its own crash shows that.
    """
    decoding: set[str] = set()
    tagging: set[str] = set()
    for path in sorted(folder.glob(f"*{_SUFFIX}")) if folder else ():
        with suppress(OSError), path.open("rb") as file:
            if not _lock_if_free(file.fileno()):
                continue
            found: dict[bytes, set[str]] = {_DECODING: set(), _TAGGING: set()}
            for entry in iter(lambda file=file: file.read(_ENTRY_BYTES), b""):  # type: ignore[misc]  # bound at once
                if entry[:1] in found:
                    found[entry[:1]].add(entry[1:].rstrip(b"\0").decode("utf-8", "replace"))
            decoding |= found[_DECODING]
            tagging |= set() if found[_DECODING] else found[_TAGGING]
            path.unlink(missing_ok=True)
    return CrashReport(frozenset(decoding), frozenset(tagging))


def _lock_if_free(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
