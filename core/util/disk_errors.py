"""Turns disk errors into sentences with advice. Also holds advisory locks, and flushes folders."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from core.errors import Unavailable

_ADVICE = {
    errno.ENOSPC: "the disk is full; free some space and try again",
    errno.EDQUOT: "the disk quota is used up; free some space and try again",
    errno.EROFS: "the file system is read-only; mount it writable or choose another TAGFLEET_HOME",
    errno.EACCES: "permission denied; it must be readable and writable for the user who runs tagfleet",
    errno.EPERM: "not permitted; it must be readable and writable for the user who runs tagfleet",
    errno.ENOENT: "it is not there; was it removed or unmounted while tagfleet ran?",
    errno.EMFILE: "too many files are open in this process; raise the limit (ulimit -n)",
    errno.ENFILE: "too many files are open on this machine; raise the limit (sysctl fs.file-max)",
    errno.EIO: "the disk reports an input/output error; check its health and the system's log",
}


def unavailable(doing: str, path: Path | str, error: OSError) -> Unavailable:
    """Return `error` as Unavailable, whose text says what was attempted, on which path, what went wrong, what to do."""
    advice = _ADVICE.get(error.errno or 0, error.strerror or str(error))
    return Unavailable(f"cannot {doing} {path}: {advice}")


class guarded:  # noqa: N801  # reads as a word: `with guarded("write", path):`
    """Turns an OSError in the block into Unavailable. A class, as it is entered several hundred times a second."""

    __slots__ = ("_doing", "_path")

    def __init__(self, doing: str, path: Path | str) -> None:
        self._doing = doing
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, OSError):
            raise unavailable(self._doing, self._path, error) from error


@contextmanager
def locked(path: Path | str) -> Iterator[None]:
    """Hold an exclusive flock of `path`, against other threads and processes. Makes the file if it does not exist.

    Unlocks explicitly, as closing would not suffice: a child forked meanwhile holds a copy of the descriptor.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(fd, fcntl.LOCK_UN)
    finally:
        os.close(fd)


def sync_folder(path: Path | str) -> None:
    """Flush a folder, so that the names in it survive a power cut."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
