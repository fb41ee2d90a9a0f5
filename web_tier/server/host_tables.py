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
    """How many connections of each address wait in each process, as of the process's last look."""

    def __init__(self, memory: HostMemory) -> None:
        self._memory = memory
        self._lock = memory.lock()
        self._counted = memory.tally()
        """How many addresses the part of each slot has."""
        self._block = memory.block(_PART * SLOTS)

    def surpluses(self, own: Mapping[str, int], limit: int) -> Mapping[str, int]:
        """Return how many connections of which address this process has to close, so that all keep the limit.

        `own` counts those of this process. Each process closes its part of what is too much, rounded up, and publishes
        what it will have left. So together they close no more than they must. Returns nothing while another process is
        at it: an event loop does not wait for it.
        """
        if self._memory.processes == 1:
            return {address: count - limit for address, count in own.items() if count > limit}
        if not self._lock.acquire(0):
            return {}
        try:
            others = self._others()
            surpluses = {}
            for address, count in own.items():
                waiting = count + others.get(_short_digest(address), 0)
                if waiting > limit:
                    surpluses[address] = -(-(waiting - limit) * count // waiting)
            self._publish({address: count - surpluses.get(address, 0) for address, count in own.items()})
            return surpluses
        finally:
            self._lock.release()

    def _others(self) -> dict[bytes, int]:
        """Return the sums over the other processes, by the digest of the address."""
        others: dict[bytes, int] = {}
        for slot in range(SLOTS):
            if slot != self._memory.slot:
                start, count = slot * _PART, self._counted.of(slot)
                for digest, waiting in _COUNT.iter_unpack(self._block[start : start + count * _COUNT.size]):
                    others[digest] = others.get(digest, 0) + waiting
        return others

    def _publish(self, own: Mapping[str, int]) -> None:
        self._counted.own = 0
        largest = sorted(own.items(), key=lambda entry: -entry[1])[:_MOST]
        start = self._memory.slot * _PART
        for number, (address, count) in enumerate(largest):
            _COUNT.pack_into(self._block, start + number * _COUNT.size, _short_digest(address), count)
        self._counted.own = len(largest)


def _short_digest(address: str) -> bytes:
    return hashlib.blake2b(address.encode(), digest_size=8).digest()
