"""Makes folders and files that only their owner may read: photos, results, jobs, logs, keys.

They are private from their creation on. Files that an earlier version left readable become private at their next use.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

_OTHERS = 0o077


def keep_private() -> None:
    """Make all files that this process creates from now on private. For processes that write into a home folder."""
    os.umask(_OTHERS)


def private_folder(path: Path) -> None:
    """Make the folder and its parents with mode 0700. An existing folder of ours becomes 0700. Raises OSError."""
    for folder in reversed([path, *path.parents]):
        if folder == path or not folder.exists():
            folder.mkdir(mode=0o700, exist_ok=True)  # another process may be making it
    _close(path)


def private_folder_if_new(path: Path) -> None:
    """Make the folder and its parents with mode 0700. An existing folder keeps its mode. Raises OSError."""
    if not path.is_dir():
        private_folder(path)


def private_file(path: Path) -> None:
    """Make an empty file with mode 0600 if there is none. An existing file of ours becomes private. Raises OSError."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    _close(path)


def private_log(path: Path) -> BinaryIO:
    """Open a log for appending, with mode 0600, in a private folder. Raises OSError."""
    private_folder(path.parent)
    file = os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600), "ab")
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        _close(path)
    return file


def private_database(path: Path) -> None:
    """Make a SQLite database's file with mode 0600 before SQLite does; its companions inherit it. Raises OSError."""
    private_file(path)
    for companion in ("-wal", "-shm", "-journal"):
        with suppress(FileNotFoundError):
            _close(path.with_name(path.name + companion))


def _close(path: Path) -> None:
    """Remove the rights of group and others, unless the file belongs to another user."""
    found = path.stat()
    if found.st_uid == os.geteuid() and found.st_mode & _OTHERS:
        path.chmod(stat.S_IMODE(found.st_mode) & ~_OTHERS)
