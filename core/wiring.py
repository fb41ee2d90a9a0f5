"""Chooses the implementation of the ports. The only place that knows which one runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from config.settings import Settings
from core import layout
from core.ports import Fleet, ObjectStore, Queue
from core.roster import Roster


@dataclass(frozen=True)
class Backend:
    """The parts of one deployment. Nothing is opened before it is asked for."""

    settings: Settings

    @cached_property
    def store(self) -> ObjectStore:
        from core.local.store import LocalStore

        return LocalStore(self.settings.home / "store")

    @cached_property
    def roster(self) -> Roster:
        return Roster(self.store)

    def jobs(self, pool: str) -> Queue:
        """The input queue of a pool."""
        return self._queue(layout.jobs_queue(pool))

    @cached_property
    def results(self) -> Queue:
        """The output queue of all pools."""
        return self._queue(layout.RESULTS_QUEUE)

    def fleet(self, worker_command: Sequence[str], *, grace_s: float = 8.0) -> Fleet:
        """`worker_command` starts one worker when `--pool P --instance I` are appended to it.

        A worker that was told to end and has not after `grace_s` is killed.
        """
        from core.local.fleet import LocalFleet

        return LocalFleet(self.settings.home / "instances", worker_command, self.settings, grace_s=grace_s)

    def _queue(self, name: str) -> Queue:
        from core.local.queue import LocalQueue

        queue = self.settings.queue
        return LocalQueue(
            self.settings.home / "queues.db",
            name,
            visibility_timeout_s=queue.visibility_timeout_s,
            max_receives=queue.max_receives,
        )
