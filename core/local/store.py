"""An object store in a folder.

    ROOT/objects/   the object `a/b/c` is the file `a+/b+/c`: `+`, which no key contains, marks folders, so the keys
                    `a` and `a/b` exist side by side as they do on S3
    ROOT/locks/     one lock for all keys of the same hash; held while an object changes
    ROOT/partial/   objects being written; the next opening of the store removes what killed processes left

An object is written to partial/, flushed, and renamed into place, so that a reader sees a whole version or none.
Several objects are written first, then flushed together, then renamed, and each folder is flushed once.
"""

from __future__ import annotations

import fcntl
import mimetypes
import os
import secrets
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from io import FileIO
from itertools import count
from pathlib import Path
from typing import BinaryIO

from core.errors import NotFound, PreconditionFailed
from core.storage.keys import is_segment, segments_of
from core.storage.ports import Admit, Blob, Condition, Etag, IfAbsent, ObjectInfo, UploadForm
from core.util.disk_errors import guarded, locked, sync_folder
from core.util.flushing import flush_all
from core.util.private import private_folder

_CHUNK = 1 << 20
_LOCKS = 256
_SWEEP_AFTER_S = 60.0
_TOGETHER = 32
_GROUPS = 4
"""Objects that are flushed together, and such groups at the same time: each object is an open file meanwhile."""
_DEFAULT_TYPE = "application/octet-stream"


class LocalStore:
    """Safe for several threads and processes. A bad key raises ValueError.

    The content type is not stored: `get` guesses it from the key's extension. Empty folders stay, as removing one could
    race with a put of another process. `clock_ns` gives Unix nanoseconds.
    """

    def __init__(self, root: Path, *, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._root = root
        self._clock_ns = clock_ns
        self._objects = str(root / "objects")
        self._partial = str(root / "partial")
        self._locks = str(root / "locks")
        self._durable_folders: set[str] = set()
        self._partials = count()
        self._token = secrets.token_hex(8)
        self._groups = threading.BoundedSemaphore(_GROUPS)
        with guarded("make the store in", root):
            for folder in (self._objects, self._partial, self._locks):
                private_folder(Path(folder))
            self._sweep()

    def put(
        self,
        key: str,
        data: bytes | BinaryIO,
        *,
        content_type: str = _DEFAULT_TYPE,
        condition: Condition | None = None,
    ) -> Etag:
        folder, path = self._place(key)
        fd, partial = self._write_partial(data)
        try:
            with guarded("write to the store in", self._root):
                os.fsync(fd)
                self._make_folder(folder)
                with self._lock(key):
                    etag = self._publish(fd, partial, key, path, condition)
                    sync_folder(folder)
                    return etag
        finally:
            _discard(fd, partial)

    def put_all(self, objects: Mapping[str, bytes], *, content_type: str = _DEFAULT_TYPE) -> None:
        keys = list(objects)
        if len(keys) == 1:
            self.put(keys[0], objects[keys[0]])  # does not wait for groups
            return
        for start in range(0, len(keys), _TOGETHER):
            with self._groups:
                self._put_group({key: objects[key] for key in keys[start : start + _TOGETHER]})

    def _put_group(self, objects: Mapping[str, bytes]) -> None:
        places = {key: self._place(key) for key in objects}
        partials: dict[str, tuple[int, str]] = {}
        try:
            for key, data in objects.items():
                partials[key] = self._write_partial(data)
            with guarded("write to the store in", self._root):
                flush_all([fd for fd, _ in partials.values()])
                folders = dict.fromkeys(folder for folder, _ in places.values())
                for folder in folders:
                    self._make_folder(folder)
                for key, (_, path) in places.items():
                    with self._lock(key):
                        self._publish(*partials[key], key, path, None)
                for folder in folders:
                    sync_folder(folder)
        finally:
            for fd, partial in partials.values():
                _discard(fd, partial)

    def get(self, key: str, admit: Admit | None = None) -> Blob:
        with guarded("read from the store in", self._root):
            file = self._open(key)
        with file:
            found = os.fstat(file.fileno())
            if admit is not None:
                admit(found.st_size)
            with guarded("read from the store in", self._root):
                return Blob(file.readall(), _etag(found), mimetypes.guess_type(key)[0] or _DEFAULT_TYPE)

    def copy(self, source: str, target: str) -> Etag:
        with guarded("read from the store in", self._root):
            file = self._open(source)
        with file:
            return self.put(target, file)

    def list(self, prefix: str, start_after: str = "") -> Iterator[ObjectInfo]:
        above = prefix.rpartition("/")[0]
        segments = above.split("/") if above else []
        if not all(map(is_segment, segments)):
            return iter(())
        folder = "/".join([self._objects, *(f"{segment}+" for segment in segments)])
        return self._walk(folder, f"{above}/" if above else "", prefix, start_after)

    def delete(self, keys: Sequence[str]) -> None:
        places = [(key, self._place(key)) for key in keys]
        with guarded("delete from the store in", self._root):
            for key, (_, path) in places:
                with self._lock(key), suppress(FileNotFoundError):
                    os.unlink(path)  # noqa: PTH108
            for folder in {folder for _, (folder, _) in places}:
                with suppress(FileNotFoundError):
                    sync_folder(folder)

    def upload_form(self, key: str, *, content_type: str, max_bytes: int, expires_s: int) -> UploadForm | None:
        return None

    def _open(self, key: str) -> FileIO:
        _, path = self._place(key)
        try:
            return FileIO(path)
        except FileNotFoundError:
            self._check_root()
            raise NotFound(key) from None

    def _place(self, key: str) -> tuple[str, str]:
        """Return the folder and the file of `key`."""
        segments = segments_of(key)
        folder = "/".join([self._objects, *(f"{segment}+" for segment in segments[:-1])])
        return folder, f"{folder}/{segments[-1]}"

    def _lock(self, key: str) -> AbstractContextManager[None]:
        return locked(f"{self._locks}/{zlib.crc32(key.encode()) % _LOCKS:02x}")

    def _write_partial(self, data: bytes | BinaryIO) -> tuple[int, str]:
        """Write all of `data` to a new partial file; return its descriptor and path. It is not flushed.

        Errors of reading a file object pass unchanged.
        """
        partial = f"{self._partial}/{os.getpid()}-{self._token}-{next(self._partials)}"
        with guarded("write to the store in", self._root):
            fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)  # tells `_sweep` that the writer lives
            if isinstance(data, bytes):
                with guarded("write to the store in", self._root):
                    _write(fd, data)
            else:
                while chunk := data.read(_CHUNK):
                    with guarded("write to the store in", self._root):
                        _write(fd, chunk)
        except BaseException:
            _discard(fd, partial)
            raise
        return fd, partial

    def _make_folder(self, folder: str) -> None:
        """Make `folder`, and make it and the folders above it durable.

        Does so once per folder, even if it exists: the process that made it may have died before flushing it.
        """
        if folder in self._durable_folders or folder == self._objects:
            return
        above = folder.rpartition("/")[0]
        self._make_folder(above)
        with suppress(FileExistsError):
            os.mkdir(folder, 0o700)  # noqa: PTH102
        sync_folder(above)
        self._durable_folders.add(folder)

    def _publish(self, fd: int, partial: str, key: str, path: str, condition: Condition | None) -> Etag:
        """Rename the written object into place if `condition` holds. The caller holds the key's lock.

        It is durable once its folder is flushed.
        """
        try:
            old = os.stat(path)  # noqa: PTH116
        except FileNotFoundError:
            old = None
        if condition is not None:
            there = _etag(old) if old else None
            if there != (None if isinstance(condition, IfAbsent) else condition.etag):
                raise PreconditionFailed(key)
        # Each version needs its own time, for the etag: the kernel's repeat within milliseconds, and clocks step back.
        now = max(self._clock_ns(), old.st_mtime_ns + 1 if old else 0)
        os.utime(fd, ns=(now, now))
        etag = _etag(os.fstat(fd))
        os.rename(partial, path)  # noqa: PTH104
        return etag

    def _walk(self, folder: str, above: str, prefix: str, start_after: str) -> Iterator[ObjectInfo]:
        """Yield the objects in `folder`, whose keys start with `above`. Reads one folder at a time, as needed."""
        with guarded("list the store in", self._root):
            try:
                names = os.listdir(folder)  # noqa: PTH208
            except FileNotFoundError:
                self._check_root()
                return
        for key in sorted(above + name.replace("+", "/") for name in names):
            if not (key.startswith(prefix) or (key[-1] == "/" and prefix.startswith(key))):
                continue
            path = f"{folder}/{key[len(above) :]}"
            if key[-1] == "/":
                if key > start_after or start_after.startswith(key):
                    yield from self._walk(path[:-1] + "+", key, prefix, start_after)
            elif key > start_after:
                with guarded("list the store in", self._root):
                    try:
                        found = os.stat(path)  # noqa: PTH116
                    except FileNotFoundError:
                        continue  # deleted since the folder was read
                yield ObjectInfo(key, found.st_size, _etag(found), found.st_mtime)

    def _check_root(self) -> None:
        """Raise FileNotFoundError if the store itself is missing, not just an object."""
        os.stat(self._objects)  # noqa: PTH116

    def _sweep(self) -> None:
        """Remove half-written objects of killed processes: old files that nobody locks."""
        for name in os.listdir(self._partial):  # noqa: PTH208
            path = Path(self._partial, name)
            with suppress(FileNotFoundError, BlockingIOError):
                if time.time() - path.stat().st_mtime < _SWEEP_AFTER_S:
                    continue  # its writer may not have locked it yet
                with path.open("rb") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()


def _etag(found: os.stat_result) -> Etag:
    return Etag(f"{found.st_mtime_ns:x}-{found.st_ino:x}-{found.st_size:x}")


def _discard(fd: int, partial: str) -> None:
    """Close a partial file. It still has its name only if it was not published."""
    os.close(fd)
    with suppress(OSError):
        os.unlink(partial)  # noqa: PTH108


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
