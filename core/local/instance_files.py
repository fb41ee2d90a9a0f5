"""One instance's file: an append-only journal of JSON lines, and a lock that says whether the instance lives.

    {"pool": "resnet50", "token": "…", "launched_at": 1700000000.0}     complete before the file has its name
    {"pid": 4711}                                                       by the new process, before it is the worker
    {"stop_at": …}  {"term_at": …}                                      asked to end; SIGTERM sent
    {"gone_at": …}  {"exit_status": 0, "ended": "…"}                    found dead; how it ended, if known
    {"failed": "…"}                                                     never started, and why

The exclusive flock is taken before the file has its name, and the worker inherits it; the kernel frees it when the last
process that holds it dies. So an unlocked file means that the instance is gone, whatever happened to its launcher, and
a process id is used only while its owner lives. Readers take a shared lock, so that they do not mistake each other for
a worker.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from core.errors import Unavailable
from core.storage.ports import Instance, InstanceState
from core.util.disk_errors import guarded

SUFFIX = ".jsonl"


@dataclass(frozen=True, slots=True)
class Record:
    """The content of an instance's file, and whether its lock is held."""

    id: str
    alive: bool
    pool: str
    token: str
    launched_at: float
    pid: int | None = None
    stop_at: float | None = None
    term_at: float | None = None
    gone_at: float | None = None
    exit_status: int | None = None
    ended: str = ""
    failed: str = ""

    @property
    def instance(self) -> Instance:
        return Instance(self.id, self.pool, self._state, self.launched_at, self.token, ended=self.ended)

    @property
    def _state(self) -> InstanceState:
        if not self.alive:
            return InstanceState.GONE
        if self.stop_at is not None:
            return InstanceState.STOPPING
        return InstanceState.RUNNING if self.pid is not None else InstanceState.PENDING


_ENTRIES = {field.name for field in fields(Record)} - {"id", "alive"}


def path_of(root: Path, id: str) -> Path:
    return root / (id + SUFFIX)


def create(path: Path, **first: Any) -> int | None:
    """Create the file and hold its lock. Returns the descriptor that holds it, None if the file exists."""
    aside = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    with guarded("make the instance file", path):
        fd = os.open(aside, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            _write_line(fd, first)
            os.fsync(fd)
            os.link(aside, path)
        except FileExistsError:
            os.close(fd)
            return None
        except BaseException:
            os.close(fd)
            raise
        finally:
            with suppress(OSError):
                aside.unlink()
    return fd


def append(path: Path, **entry: Any) -> None:
    """Append a line. Does nothing if the file was removed meanwhile."""
    with guarded("write the instance file", path), suppress(FileNotFoundError):
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            _write_line(fd, entry)
        finally:
            os.close(fd)


def read(path: Path) -> Record | None:
    """Return the record, None if the file is gone or not ours. Raises Unavailable if it is damaged and locked."""
    with guarded("read the instance file", path):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        with os.fdopen(fd, "rb") as file:
            alive = not _lock_is_free(fd)  # before reading: a dead instance's file is then complete
            lines = file.read().splitlines()
    found = _merge(lines)
    if found.keys() >= {"pool", "token", "launched_at"}:
        return Record(id=path.name.removesuffix(SUFFIX), alive=alive, **found)
    if alive:
        raise Unavailable(f"instance file {path} is damaged, and its process lives: end it by hand (fuser -k {path})")
    return None


def read_own(root: Path, id: str) -> Record | None:
    """Return the record of the instance `id`; None if there is none, or the id is not a file name."""
    path = path_of(root, id)
    return read(path) if path.parent == root else None


def is_abandoned(path: Path, older_than_s: float, now: float) -> bool:
    """Return whether a launcher died before it gave this file its final name."""
    with guarded("look at", path), suppress(FileNotFoundError), path.open("rb") as file:
        return now - os.fstat(file.fileno()).st_mtime > older_than_s and _lock_is_free(file.fileno())
    return False


def _merge(lines: list[bytes]) -> dict[str, Any]:
    """Merge the lines. The first line with a field wins; unknown fields, of later versions, are left out."""
    found: dict[str, Any] = {}
    for line in lines:
        with suppress(ValueError):  # torn by a full disk
            entry = json.loads(line)
            if isinstance(entry, dict):
                found = {name: entry[name] for name in entry if name in _ENTRIES} | found
    return found


def _lock_is_free(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(fd, fcntl.LOCK_UN)
    return True


def _write_line(fd: int, entry: dict[str, Any]) -> None:
    """Write with one call, which is atomic, and on a new line, so that a torn line spoils only itself."""
    line = b"\n" + json.dumps(entry).encode() + b"\n"
    if os.write(fd, line) != len(line):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
