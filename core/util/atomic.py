"""Atomic files and folders: a reader sees the old content or the whole new one, never a part.

Content is written under another name beside the target, and renamed into place once it is complete. All code that
writes files uses this module, except `core.local.store`, which needs a lock and a version between the two steps.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from core.util.disk_errors import sync_folder

PRIVATE = 0o600
"""The mode of a file that only its owner may read."""


def atomic_write(
    path: Path,
    data: bytes | str,
    *,
    mode: int = 0o666,
    durable: bool = False,
    sole_writer: bool = False,
    make_parents: bool = False,
) -> None:
    """Make or replace the file. Encodes a string as UTF-8. Raises OSError, which names `path`.

    The options are those of `atomic_path`.
    """
    with atomic_path(path, mode=mode, durable=durable, sole_writer=sole_writer, make_parents=make_parents) as part:
        part.write_bytes(data.encode() if isinstance(data, str) else data)


@contextmanager
def atomic_path(
    path: Path, *, mode: int = 0o666, durable: bool = False, sole_writer: bool = False, make_parents: bool = False
) -> Iterator[Path]:
    """Yield an empty file beside `path` for the block to fill; it replaces `path` unless the block raises.

    `mode` is the new file's mode, less the umask. With `durable`, content and name survive a power cut. A `sole_writer`
    uses the same temporary name each time, so that it overwrites the leftovers of a killed process. Raises OSError,
    which names `path`.
    """
    if make_parents:
        path.parent.mkdir(parents=True, exist_ok=True)
    with part_beside(path, mode=mode, sole_writer=sole_writer) as part:
        yield part
        if durable:
            _sync(part)
        part.replace(path)
        if durable:
            sync_folder(path.parent)


@contextmanager
def part_beside(path: Path, *, mode: int = 0o666, sole_writer: bool = False) -> Iterator[Path]:
    """Yield an empty file beside `path`, which the block may fill and rename; otherwise it is removed.

    Raises OSError, which names `path`.
    """
    part = _part_name(path, sole_writer)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (os.O_TRUNC if sole_writer else os.O_EXCL)
        os.close(os.open(part, flags, mode))
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    try:
        yield part
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def atomic_folder(
    folder: Path, fill: Callable[[Path], object], *, durable: bool = False, sole_writer: bool = False
) -> Path:
    """Return the folder; if it does not exist, make it and let `fill` fill it. Raises what `fill` raises, and OSError.

    The name must identify the content: if several processes fill the folder at once, the first one's stays. `durable`
    and `sole_writer` are as in `atomic_path`.
    """
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = _part_name(folder, sole_writer)
    try:
        if sole_writer:
            shutil.rmtree(part, ignore_errors=True)
        part.mkdir(mode=0o700)
        fill(part)
        if durable:
            _sync_all(part)
        part.replace(folder)
        if durable:
            sync_folder(folder.parent)
    except OSError:
        if not folder.is_dir():  # otherwise another process was first, and its folder has the same content
            raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def _part_name(path: Path, sole_writer: bool) -> Path:
    """Return a name in the same folder, so on the same file system. Long names are cut to a file system's 255 bytes."""
    chance = "" if sole_writer else f".{secrets.token_hex(6)}"
    return path.with_name(f".{os.fsdecode(os.fsencode(path.name)[:200])}{chance}.part")


def _sync_all(folder: Path) -> None:
    for inner in folder.iterdir():
        if inner.is_dir():
            _sync_all(inner)
        else:
            _sync(inner)
    sync_folder(folder)


def _sync(file: Path) -> None:
    handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
