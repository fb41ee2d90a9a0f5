"""A backend whose store, queues and fleet are in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

from config.settings import Settings
from core.fleet.metrics import NoMetrics
from core.storage.memory import MemoryStore
from core.storage.memory_fleet import MemoryFleet, MemoryInstances
from core.storage.memory_queue import MemoryQueue, MemoryQueues
from core.wiring import Backend, Platform


class MemoryParts:
    """Store, queues and instances in memory. Every call returns the same store, and the same queue for a name."""

    def __init__(self, settings: Settings, clock: Callable[[], float]) -> None:
        limits = settings.queue
        self._clock = clock
        self._store = MemoryStore(clock)
        self.instances = MemoryInstances()
        self.queues = MemoryQueues(
            visibility_timeout_s=limits.visibility_timeout_s, max_receives=limits.max_receives, clock=clock
        )

    def store(self) -> MemoryStore:
        return self._store

    def store_place(self) -> str:
        return "memory"

    def queue(self, name: str) -> MemoryQueue:
        return self.queues.open(name)

    def shrink_queues(self) -> int:
        return 0

    def fleet(self, worker_command: Sequence[str], grace_s: float) -> MemoryFleet:
        return MemoryFleet(self.instances, self._clock, grace_s=grace_s)

    def machine(self) -> None:
        return

    def launched(self, worker_id: str) -> bool:
        return worker_id in self.instances.entries

    def metrics(self) -> NoMetrics:
        return NoMetrics()


class MemoryBackend(Backend):
    """A backend in memory. `clock` gives Unix seconds."""

    def __init__(self, settings: Settings, clock: Callable[[], float]) -> None:
        super().__init__(settings)
        object.__setattr__(self, "memory", MemoryParts(settings, clock))  # a backend is frozen

    memory: MemoryParts

    @cached_property
    def _platform(self) -> Platform:
        return self.memory
