"""The platform of a deployment on one machine: files, SQLite, worker processes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from config.settings import Settings
from core.fleet.metrics import NoMetrics
from core.local import instance_files, queue_upkeep
from core.local.fleet import LocalFleet
from core.local.queue import LocalQueue
from core.local.store import LocalStore


class LocalPlatform:
    """Opens store, queues and fleet under the settings' `home`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def store(self) -> LocalStore:
        return LocalStore(self._settings.home / "store")

    def store_place(self) -> str:
        return f"folder {self._settings.home / 'store'}"

    @property
    def _queues(self) -> Path:
        return self._settings.home / "queues.db"

    def shrink_queues(self) -> int:
        return queue_upkeep.shrink(self._queues)

    def queue(self, name: str) -> LocalQueue:
        queue = self._settings.queue
        return LocalQueue(
            self._queues,
            name,
            visibility_timeout_s=queue.visibility_timeout_s,
            max_receives=queue.max_receives,
        )

    def fleet(self, worker_command: Sequence[str], grace_s: float) -> LocalFleet:
        return LocalFleet(self._settings.home / "instances", worker_command, self._settings, grace_s=grace_s)

    def machine(self) -> None:
        """Return None: no provider takes this machine away."""
        return

    def launched(self, worker_id: str) -> bool:
        """Return whether the file of this instance is locked and names this process."""
        record = instance_files.read_own(self._settings.home / "instances", worker_id)
        return record is not None and record.alive and record.pid == os.getpid()

    def metrics(self) -> NoMetrics:
        return NoMetrics()
