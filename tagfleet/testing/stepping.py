"""Make a deployment progress: tag photos and collect their results, step by step or in a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from config.settings import Settings
from core.errors import Unavailable
from core.telemetry import logger
from tagfleet.testing.backend import MemoryBackend
from tagfleet.testing.tagger import TaggerStandIn
from web_tier.catalog.database import Database, catalog_url
from web_tier.catalog.results import ResultCatalog
from web_tier.collector.collector import Collector

_IDLE_S = 0.1
"""Seconds between steps while nothing is sent. A sent message causes a step at once."""
_SWEEP_S = 0.5


class Stepper:
    """Steps a deployment. Thread-safe. `clock` gives Unix seconds."""

    def __init__(
        self, backend: MemoryBackend, settings: Settings, clock: Callable[[], float], tagger: TaggerStandIn
    ) -> None:
        self._results = backend.results
        self._queues = backend.memory.queues
        self._tagger = tagger
        self._database = Database(catalog_url(settings))
        self._collector = Collector(backend, ResultCatalog(self._database), settings, clock)
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._failure: Exception | None = None

    def step(self, *, sweep: bool = False) -> None:
        """Tag waiting photos, and bring all results into the catalogue; `sweep` looks for lost work too."""
        with self._lock:
            self._tagger.work()
            while self._results.depth().visible:
                self._collector.collect(wait_s=0)
            self._collector.collect(wait_s=0)  # an empty one, so that the collector does not wait for the next result
            if sweep:
                self._collector.sweep()

    def run(self, failed: Callable[[], None]) -> None:
        """Step again and again in a thread. An exception makes it call `failed` and end."""
        self._thread = threading.Thread(target=self._run, args=(failed,), name="tagfleet.testing", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread. Raises the exception that ended it earlier: for instance, one from the test's own tagger."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        self._database.close()
        if self._failure is not None:
            raise self._failure

    def _run(self, failed: Callable[[], None]) -> None:
        swept_at = 0.0
        sends = 0
        while not self._ended.is_set():
            sends = self._queues.wait_for_send(sends, _IDLE_S)
            sweep = time.monotonic() - swept_at > _SWEEP_S
            try:
                self.step(sweep=sweep)
            except Unavailable as error:  # a test made a component unavailable
                logger().debug("the step waits", reason=str(error))
            except Exception as error:  # noqa: BLE001  # `close` raises it
                self._failure = error
                failed()
                return
            if sweep:
                swept_at = time.monotonic()
