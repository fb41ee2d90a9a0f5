"""Tables of fixed size that the web processes of one host share: token buckets by name, connections by address."""

from __future__ import annotations

import hashlib
import math
import secrets
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from web_tier.server.host_memory import SLOTS, HostMemory

_ENTRY = struct.Struct("16sdd")
_EMPTY = bytes(16)
_WAYS = 8
_SETS = 2048

_COUNT = struct.Struct("8sq")
_MOST = 500
_PART = _COUNT.size * (_MOST + 1)


@dataclass(frozen=True, slots=True)
class Entry:
    """The place of a name in a table, and what is stored there of it."""

    offset: int
    digest: bytes
    level: float | None
    """None if nothing is stored."""
    at: float


class LevelTable:
    """Two numbers for each name: a level, and when it was that. The caller holds `lock`.

    It has room for 16,384 names, in sets of eight. A name beyond those of its set replaces the one that was stored
    longest ago. A secret decides which names share a set, so nobody can choose names that replace another's.
    """

    def __init__(self, memory: HostMemory) -> None:
        self.lock = memory.lock()
        self._secret = secrets.token_bytes(16)
        self._block = memory.block(_SETS * _WAYS * _ENTRY.size)

    def find(self, name: str) -> Entry:
        """Return the entry of a name."""
        digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16, key=self._secret).digest()
        start = int.from_bytes(digest[:4], "little") % _SETS * _WAYS * _ENTRY.size
        found = start
        oldest = True, math.inf
        for offset in range(start, start + _WAYS * _ENTRY.size, _ENTRY.size):
            known, level, at = _ENTRY.unpack_from(self._block, offset)
            if known == digest:
                return Entry(offset, digest, level, at)
            age = known != _EMPTY, at
            if age < oldest:
                oldest, found = age, offset
        return Entry(found, digest, None, 0.0)

    def store(self, entry: Entry, level: float, at: float) -> None:
        """Store the level of an entry that was just found, and its time."""
        _ENTRY.pack_into(self._block, entry.offset, entry.digest, level, at)

    def __len__(self) -> int:
        return sum(known != _EMPTY for known, _, _ in _ENTRY.iter_unpack(self._block[:]))


class AddressCounts:
    """How many connections of each address wait in each process, as of the process's last exchange."""

    def __init__(self, memory: HostMemory) -> None:
        self._memory = memory
        self._lock = memory.lock()
        self._counted = memory.tally()
        """How many addresses the part of each slot has."""
        self._block = memory.block(_PART * SLOTS)

    def exchange(self, own: Mapping[str, int]) -> Mapping[str, int] | None:
        """Publish the counts of this process, of at most 500 addresses; return the sums of all others for these.

        Returns None if another process is at it: nobody waits for the lock in an event loop.
        """
        if self._memory.alone:
            return {}
        if not self._lock.acquire(0):
            return None
        try:
            self._publish(own)
            others: dict[bytes, int] = {}
            for slot in range(SLOTS):
                if slot != self._memory.slot:
                    for digest, count in self._part(slot):
                        others[digest] = others.get(digest, 0) + count
        finally:
            self._lock.release()
        return {address: others.get(_short_digest(address), 0) for address in own}

    def _publish(self, own: Mapping[str, int]) -> None:
        self._counted.own = 0
        largest = sorted(own.items(), key=lambda entry: -entry[1])[:_MOST]
        start = self._memory.slot * _PART
        for number, (address, count) in enumerate(largest):
            _COUNT.pack_into(self._block, start + number * _COUNT.size, _short_digest(address), count)
        self._counted.own = len(largest)

    def _part(self, slot: int) -> list[tuple[bytes, int]]:
        start = slot * _PART
        return list(_COUNT.iter_unpack(self._block[start : start + self._counted.of(slot) * _COUNT.size]))


def _short_digest(address: str) -> bytes:
    return hashlib.blake2b(address.encode(), digest_size=8).digest()
