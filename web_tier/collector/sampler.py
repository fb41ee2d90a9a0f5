"""Sample queues and workers every 5 s, for the operators' plots. Runs in the collector's process.

While there are neither messages nor workers, only each third sample looks for workers: on S3 that is the dearest
request of an idle deployment.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from core.errors import Unavailable
from core.fleet.roster import Heartbeat
from core.storage.ports import Queue
from web_tier.catalog.samples import EVERY_S, Sample, SampleCatalog
from web_tier.services.fleet_view import FleetView
from web_tier.services.outage import Outage

_LOOK_EVERY = 3


class Sampler:
    """Takes samples. `queues` are the job queues; `wall` returns Unix seconds, `clock` is monotonic."""

    def __init__(
        self,
        catalog: SampleCatalog,
        queues: Sequence[Queue],
        fleet: FleetView,
        *,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._catalog = catalog
        self._queues = queues
        self._fleet = fleet
        self._wall = wall
        self._clock = clock
        self._handled: Mapping[str, int] | None = None
        self._sampled_at = clock()
        self._at_rest = 0
        """Samples since workers were looked for, while there were neither workers nor messages."""

    def run(self, stop: threading.Event) -> None:
        """Sample until `stop` is set. While something does not answer, samples are missing."""
        outage = Outage("samples of the fleet are missing", "the fleet is sampled again")
        while not stop.is_set():
            try:
                self.sample()
                outage.end()
            except Unavailable as error:
                outage.record(error)
            stop.wait(EVERY_S)

    def sample(self) -> None:
        """Take one sample and store it. Raises Unavailable."""
        depths = [queue.depth() for queue in self._queues]
        workers = self._workers(waiting=any(depth.outstanding for depth in depths))
        self._catalog.keep(
            Sample(
                at=self._wall(),
                visible=sum(depth.visible + depth.delayed for depth in depths),
                in_flight=sum(depth.in_flight for depth in depths),
                dead=sum(depth.dead for depth in depths),
                workers=Counter(worker.state.value for worker in workers),
                rate=round(self._rate(workers), 2),
            )
        )

    def _workers(self, *, waiting: bool) -> Sequence[Heartbeat]:
        """Return the live workers; none if there were none lately and no messages `waiting` could have started some."""
        if not waiting and not self._handled and 0 < self._at_rest < _LOOK_EVERY:
            self._at_rest += 1
            return ()
        workers = self._fleet.workers()
        self._at_rest = 0 if workers or waiting else 1
        return workers

    def _rate(self, workers: Sequence[Heartbeat]) -> float:
        """Return images/s since the previous sample, by the workers' own counts; 0 in the first sample."""
        now = self._clock()
        elapsed, self._sampled_at = now - self._sampled_at, now
        handled = {worker.worker_id: worker.images_done + worker.images_failed for worker in workers}
        before, self._handled = self._handled, handled
        if before is None or elapsed <= 0:
            return 0.0
        return sum(max(0, count - before.get(id_, 0)) for id_, count in handled.items()) / elapsed
