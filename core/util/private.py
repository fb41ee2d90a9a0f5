"""Folders and files that only their owner may read: photos, results, jobs, logs, keys.

What is made here is private from its first moment; what an earlier version left open is closed where it is used.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

_OTHERS = 0o077


def keep_private() -> None:
    """Have whatever this process makes from now on be its owner's alone; for processes that write into a home."""
    os.umask(_OTHERS)


def private_folder(path: Path) -> None:
    """Make the folder, and those above it, 0700; one that is there is closed if it is ours. Raises OSError."""
    for folder in reversed([path, *path.parents]):
        if folder == path or not folder.exists():
            folder.mkdir(mode=0o700, exist_ok=True)  # another process may be making it
    _close(path)


def private_folder_if_new(path: Path) -> None:
    """Make the folder, and those above it, 0700; one that is there is its owner's to open to others. Raises OSError."""
    if not path.is_dir():
        private_folder(path)


def private_file(path: Path) -> None:
    """Make the file, 0600, where there is none; one that is there is closed if it is ours. Raises OSError."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    _close(path)


def private_log(path: Path) -> BinaryIO:
    """Open a log for appending, 0600, in a folder of its owner's. Raises OSError."""
    private_folder(path.parent)
    file = os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600), "ab")
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        _close(path)
    return file


def private_database(path: Path) -> None:
    """Make the file of a SQLite database, 0600, before SQLite does; its companions take after it. Raises OSError."""
    private_file(path)
    for companion in ("-wal", "-shm", "-journal"):
        with suppress(FileNotFoundError):
            _close(path.with_name(path.name + companion))


def _close(path: Path) -> None:
    """Take group and others their rights. What belongs to somebody else is theirs to open or close."""
    found = path.stat()
    if found.st_uid == os.geteuid() and found.st_mode & _OTHERS:
        path.chmod(stat.S_IMODE(found.st_mode) & ~_OTHERS)
