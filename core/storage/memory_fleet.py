"""A fleet in this process's memory, for tests and simulations. Its instances run nothing."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from core.errors import Unavailable
from core.storage.ports import PROCESS, Cause, Instance, InstanceState, Launch, Offering

_SET_ASIDE_S = 180.0
_KEPT_GONE_S = 600.0


@dataclass(slots=True)
class _Entry:
    instance: Instance
    obeys: bool
    stop_at: float | None = None
    gone_at: float | None = None


@dataclass(slots=True)
class MemoryInstances:
    """The instances that several `MemoryFleet` objects share, as several controllers share a real fleet."""

    lock: threading.RLock = field(default_factory=threading.RLock)
    entries: dict[str, _Entry] = field(default_factory=dict)
    available: bool = True

    def crash(self, id: str, now: float) -> None:
        """End an instance as if it had crashed."""
        with self.lock:
            self.entries[id].gone_at = now


class MemoryFleet:
    """Launches at most `capacity` instances at a time (None: any number) from each of its `offerings`.

    With `obeys=False` its instances ignore the request to stop, and end `grace_s` later. `clock` gives Unix seconds.
    """

    def __init__(
        self,
        instances: MemoryInstances | None = None,
        clock: Callable[[], float] = time.time,
        *,
        offerings: Sequence[Offering] = (PROCESS,),
        capacity: int | None = None,
        obeys: bool = True,
        grace_s: float = 8.0,
    ) -> None:
        self._all = instances or MemoryInstances()
        self._clock = clock
        self._offerings = list(offerings)
        self._capacity = capacity
        self._obeys = obeys
        self._grace_s = grace_s
        self._aside: dict[Offering, float] = {}

    def instances(self) -> list[Instance]:
        with self._using():
            self._settle()
            found = [entry.instance for entry in self._all.entries.values()]
        return sorted(found, key=lambda instance: (instance.launched_at, instance.id))

    def offerings(self, pool: str) -> list[Offering]:
        with self._using():
            now = self._clock()
            return [offering for offering in self._offerings if now >= self._aside.get(offering, now)]

    def launch(self, pool: str, count: int, token: str, offering: Offering = PROCESS) -> Launch:
        """Launch instances. Their ids follow from token and number, so a repeated call launches nothing twice."""
        digest = hashlib.sha256(token.encode()).hexdigest()[:12]
        launched: list[Instance] = []
        with self._using():
            self._settle()
            for number in range(count):
                id_ = f"mem-{digest}-{number}"
                if id_ not in self._all.entries:
                    if self._capacity is not None and self._running() >= self._capacity:
                        self._aside[offering] = self._clock() + _SET_ASIDE_S
                        reason = f"no capacity for {offering}"
                        return Launch(launched, count - len(launched), reason, Cause.CAPACITY)
                    self._all.entries[id_] = _Entry(self._new(id_, pool, token, offering), self._obeys)
                launched.append(self._all.entries[id_].instance)
        return Launch(launched)

    def set_aside(self, ids: Sequence[str]) -> None:
        with self._using():
            for id_ in ids:
                entry = self._all.entries.get(id_)
                if entry is None or entry.instance.market != "spot":
                    continue
                one = entry.instance
                self._aside[Offering(one.type, one.zone, one.market, one.price)] = self._clock() + _SET_ASIDE_S

    def terminate(self, ids: Sequence[str]) -> None:
        with self._using():
            for id_ in ids:
                entry = self._all.entries.get(id_)
                if entry is not None and entry.stop_at is None:
                    entry.stop_at = self._clock()
            self._settle()

    def _using(self) -> threading.RLock:
        """Return the lock. Raises Unavailable while the fleet is set to be unavailable."""
        if not self._all.available:
            raise Unavailable("the fleet in memory is set to be unavailable")
        return self._all.lock

    def _new(self, id: str, pool: str, token: str, offering: Offering) -> Instance:
        return Instance(
            id=id,
            pool=pool,
            state=InstanceState.RUNNING,
            launched_at=self._clock(),
            token=token,
            market=offering.market,
            type=offering.type,
            zone=offering.zone,
            price=offering.price,
        )

    def _running(self) -> int:
        return sum(entry.gone_at is None for entry in self._all.entries.values())

    def _settle(self) -> None:
        """Update every instance's state to the present time, and forget instances that are long gone."""
        now = self._clock()
        for id_, entry in list(self._all.entries.items()):
            if entry.gone_at is None and entry.stop_at is not None:
                ends_at = entry.stop_at + (0.0 if entry.obeys else self._grace_s)
                if now >= ends_at:
                    entry.gone_at = ends_at
            if entry.gone_at is not None and now - entry.gone_at > _KEPT_GONE_S:
                del self._all.entries[id_]
                continue
            if entry.gone_at is not None:
                entry.instance = replace(entry.instance, state=InstanceState.GONE)
            elif entry.stop_at is not None:
                entry.instance = replace(entry.instance, state=InstanceState.STOPPING)
