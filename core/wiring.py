"""Chooses the implementation of the ports by the setting `backend`. No other module knows which one is in use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from config.settings import Settings
from core.fleet.metrics import Metrics
from core.fleet.roster import Roster
from core.storage import layout
from core.storage.conditional_writes import check_conditional_writes
from core.storage.originals import Originals
from core.storage.ports import Fleet, Machine, ObjectStore, Queue, Source


class Platform(Protocol):
    """Opens the ports of one kind of deployment. `core.local.platform` and `core.aws.platform` implement it."""

    def store(self) -> ObjectStore: ...

    def store_place(self) -> str:
        """Return the store's name for people: its folder, or its bucket and server."""

    def queue(self, name: str) -> Queue: ...

    def shrink_queues(self) -> int: ...

    def fleet(self, worker_command: Sequence[str], grace_s: float) -> Fleet: ...

    def machine(self) -> Machine | None: ...

    def launched(self, worker_id: str) -> bool: ...

    def metrics(self) -> Metrics: ...


@dataclass(frozen=True)
class Backend:
    """Store, queues, roster and fleet of one deployment. Each is opened at its first use."""

    settings: Settings

    @cached_property
    def store(self) -> ObjectStore:
        return self._platform.store()

    @property
    def store_place(self) -> str:
        """The store's name for people."""
        return self._platform.store_place()

    def check_store(self) -> None:
        """Check that the store honours conditional writes. Raises UnsuitableStore, Unavailable."""
        check_conditional_writes(self.store, self.store_place)

    @cached_property
    def roster(self) -> Roster:
        return Roster(self.store)

    def jobs(self, pool: str) -> Queue:
        """Return the input queue of a pool."""
        return self._platform.queue(layout.jobs_queue(pool))

    @cached_property
    def results(self) -> Queue:
        """The output queue of all pools."""
        return self._platform.queue(layout.RESULTS_QUEUE)

    def shrink_queues(self) -> int:
        """Give back disk space that the queues no longer need, if that takes a moment; return how many bytes.

        Cheap if there is none. Raises Unavailable.
        """
        return self._platform.shrink_queues()

    @cached_property
    def source(self) -> Source:
        """The reader of any bucket's objects, on a local deployment too, with the credentials of boto3's chain."""
        from core.aws.clients import Clients
        from core.aws.sources import S3Source

        return S3Source(Clients(self.settings.aws.region))

    @cached_property
    def originals(self) -> Originals:
        return Originals(self.store, lambda: self.source, self.settings.web.max_image_mb << 20)

    def fleet(self, worker_command: Sequence[str], *, grace_s: float = 8.0) -> Fleet:
        """Return the fleet. `worker_command` starts one worker here when `--pool P --instance I` are appended.

        A worker that has not ended `grace_s` after the request to is killed.
        """
        return self._platform.fleet(worker_command, grace_s)

    def machine(self) -> Machine | None:
        """Return the cloud instance that this process runs on; None for a local deployment."""
        return self._platform.machine()

    def launched(self, worker_id: str) -> bool:
        """Return whether the fleet launched this process as that worker. Raises Unavailable."""
        return self._platform.launched(worker_id)

    def metrics(self) -> Metrics:
        """Return the destination of the fleet's metrics. The caller closes it."""
        return self._platform.metrics()

    @cached_property
    def _platform(self) -> Platform:
        if self.settings.backend == "aws":
            from core.aws.platform import AwsPlatform

            return AwsPlatform(self.settings)
        from core.local.platform import LocalPlatform

        return LocalPlatform(self.settings)
