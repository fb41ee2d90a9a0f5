"""Memory that the web processes of one host share. It is made before they are forked.

1. Each process has a *slot*, a number that the arbiter gives it. A new process takes over the slot of an ended one.
2. A `Tally` has one number for each slot. Only the slot's process writes it. The arbiter clears it when the process has
   ended, so that what a killed process held comes back.
3. What several processes change, they change under a `HostLock`. The kernel releases it when its holder ends, so a
   killed process leaves nothing locked.
4. A process can be killed between any two instructions, so each structure is usable whatever was written last.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import pickle
import tempfile
import threading
import time
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")

SLOTS = 64
"""More than there are processes: while gunicorn reloads, old and new ones run side by side."""
_PAUSE_S = (0.0002, 0.02)


class HostMemory:
    """Makes what `processes` processes share. Nothing may be made after the first fork.

    With one process, nothing leaves the process, and locks exclude only its threads.
    """

    def __init__(self, processes: int = 1) -> None:
        self.processes = processes
        self.slot = 0
        """The slot of this process."""
        self._file = None if processes == 1 else _UnnamedFile()
        self._locks = 0
        self._tallies: list[Tally] = []

    def enter(self, slot: int) -> None:
        """Make this process the owner of a slot; call it after the fork."""
        self.slot = slot

    def clear(self, slot: int) -> None:
        """Give back what the ended process of a slot held."""
        for tally in self._tallies:
            tally.clear(slot)

    def lock(self) -> HostLock:
        """Make a lock."""
        self._locks += 1
        return HostLock(self._file, self._locks)

    def tally(self) -> Tally:
        """Make a tally."""
        tally = Tally(self)
        self._tallies.append(tally)
        return tally

    def block(self, size: int) -> mmap.mmap:
        """Make a block of `size` bytes, all zero."""
        return mmap.mmap(-1, size)

    def share(self, total: int) -> int:
        """Return the part of one process of what is divided among all, rounded up."""
        return -(-total // self.processes)


class HostLock:
    """Excludes the other threads and processes of this host.

    It asks the kernel again and again instead of waiting there: two threads that wait for two locks can look like a
    deadlock of their processes to the kernel, which would refuse one.
    """

    def __init__(self, file: _UnnamedFile | None, byte: int) -> None:
        self._file = file
        self._byte = byte
        self._threads = threading.Lock()

    def acquire(self, timeout_s: float = -1) -> bool:
        """Take the lock; return False if that takes longer than `timeout_s` seconds. Negative: wait for ever."""
        until = time.monotonic() + timeout_s
        if not self._threads.acquire(timeout=timeout_s if timeout_s > 0 else -1 if timeout_s < 0 else 0):
            return False
        pause_s = _PAUSE_S[0]
        try:
            while not self._take():
                if timeout_s >= 0 and time.monotonic() >= until:
                    self._threads.release()
                    return False
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, _PAUSE_S[1])
        except BaseException:
            self._threads.release()
            raise
        return True

    def release(self) -> None:
        """Give the lock back."""
        if self._file is not None:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, self._byte)
        self._threads.release()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def _take(self) -> bool:
        if self._file is not None:
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, self._byte)
            except (BlockingIOError, PermissionError):
                return False
        return True


class Tally:
    """A whole number for each process. Reading needs no lock: the processor writes eight bytes at once."""

    def __init__(self, memory: HostMemory) -> None:
        self._memory = memory
        self._values = memoryview(memory.block(8 * SLOTS)).cast("q")

    @property
    def own(self) -> int:
        """The number of this process."""
        return self._values[self._memory.slot]

    @own.setter
    def own(self, value: int) -> None:
        self._values[self._memory.slot] = value

    @property
    def total(self) -> int:
        """The sum over all processes."""
        return sum(self._values)

    def of(self, slot: int) -> int:
        """Return the number of the process of a slot."""
        return self._values[slot]

    def clear(self, slot: int) -> None:
        """Set the number of an ended process to zero."""
        self._values[slot] = 0


class Seats:
    """At most `count` seats for all threads of all processes."""

    def __init__(self, count: int, memory: HostMemory) -> None:
        self._count = count
        self._lock = memory.lock()
        self._taken = memory.tally()

    def take(self) -> bool:
        """Take a seat, if one is free."""
        with self._lock:
            free = self._taken.total < self._count
            self._taken.own += free
        return free

    def give_back(self) -> None:
        """Give a seat back that this process took."""
        with self._lock:
            self._taken.own -= 1


class Record(Generic[T]):
    """An object that processes exchange. Whoever holds `lock` may load it, change it and store it.

    There are two files, and the next version goes into the one without the current version. So a process that is killed
    while it stores leaves the current version as it was.
    """

    def __init__(self, memory: HostMemory) -> None:
        self.lock = memory.lock()
        self._files = None if memory.processes == 1 else (_UnnamedFile(), _UnnamedFile())
        self._header = memoryview(memory.block(24)).cast("q")
        """The version, and the length of each file's content."""
        self._known: tuple[int, T | None] = 0, None

    @property
    def known(self) -> T | None:
        """The object as this process loaded or stored it last. Needs no lock."""
        return self._known[1]

    def load(self) -> T | None:
        """Return the object; None before the first `store`."""
        version = self._header[0]
        if self._files is not None and version != self._known[0]:
            which = version % 2
            data = os.pread(self._files[which].fileno(), self._header[1 + which], 0)
            self._known = version, pickle.loads(data)  # noqa: S301  # only these processes can write it
        return self._known[1]

    def store(self, value: T) -> None:
        """Replace the object for all processes."""
        version = self._header[0] + 1
        if self._files is not None:
            which = version % 2
            data = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
            _write(self._files[which].fileno(), data)
            self._header[1 + which] = len(data)
        self._known = version, value
        self._header[0] = version


def _write(file: int, data: bytes) -> None:
    written = 0
    while written < len(data):
        written += os.pwrite(file, data[written:], written)


class _UnnamedFile:
    """A file in memory, where the system has such files, or else one without a name. It is closed with its object."""

    def __init__(self) -> None:
        if hasattr(os, "memfd_create"):
            self._fd = os.memfd_create("tagfleet")
        else:
            self._fd, name = tempfile.mkstemp(prefix="tagfleet-")
            Path(name).unlink()

    def fileno(self) -> int:
        return self._fd

    def __del__(self) -> None:
        os.close(self._fd)
