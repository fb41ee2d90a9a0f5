"""Chooses how much a worker does at once, wherever its settings say `auto`. Pure.

1. **Little's law.** A stage that does `rate` pieces of work a second, each of which takes `latency_s`, has
   `rate × latency_s` of them under way. With 30 ms for a read from S3, 700 images/s need 21 reads at once; with 0.2 ms
   from a disk, one thread is more than enough.
2. **Headroom.** A stage that is the bottleneck always has exactly as many under way as it has threads, so the law alone
   would never add one. `HEADROOM` times as many let the rate grow, until another stage is the bottleneck.
3. **The latency is the lowest that was lately measured.** Waiting for a busy processor is no reason for more threads:
   they would only wait as well. (TCP BBR sizes its window in the same way, by bandwidth × lowest round trip.)
4. **Prefetched messages** cover `PREFETCHED_S` of work. Other workers could do what this one holds, so it holds no
   more; but always some batches, and groups of results if requests cost money and the worker is fast enough for them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from config.settings import WorkerSettings

HEADROOM = 1.5
PREFETCHED_S = 1.5
LARGEST_PREFETCH = 2048
"""The most messages that one worker holds: all of them need their visibility extended in time."""
_BATCHES = 8
"""Batches that are prefetched at least: with the tagger, ahead of it, on their way to it, and being written."""
_GROUPS = 256
"""Messages that fill groups of a hundred results while others are fetched and tagged."""
_GROUPS_S = 10.0
"""The longest work that a worker holds for the sake of full groups."""
_FEWEST, _MOST_LOCAL, _MOST_REMOTE = 2, 16, 64
_FIRST_FETCHES, _FIRST_WRITES = 16, 8
"""Threads for a store and queue over the network, before the first measurement."""
_MOST_DECODERS, _MB_PER_DECODER = 16, 512


@dataclass(frozen=True, slots=True)
class Resources:
    """What a machine offers to this process: processors, and megabytes of memory."""

    cores: int
    memory_mb: int


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much a worker does at once: images in a batch, messages in flight, and threads of each stage."""

    batch: int
    prefetch: int
    fetch_threads: int
    decode_threads: int
    finish_threads: int


class Sizing:
    """Sizes for one worker. Numbers in its settings win.

    `best_batch` is its tagger's. `per_request` is its queues': 1 on one machine, more where requests cost money.
    """

    def __init__(self, settings: WorkerSettings, best_batch: int, per_request: int, resources: Resources) -> None:
        self._settings = settings
        self._is_remote = per_request > 1
        self._resources = resources
        self._batch = best_batch if settings.batch_size == "auto" else settings.batch_size

    def first(self) -> Sizes:
        """Return the sizes to begin with, before anything was measured."""
        settings = self._settings
        fetches, writes = (_FIRST_FETCHES, _FIRST_WRITES) if self._is_remote else (_FEWEST, _FEWEST)
        return Sizes(
            batch=self._batch,
            prefetch=self.prefetch(None),
            fetch_threads=fetches if settings.fetch_threads == "auto" else settings.fetch_threads,
            decode_threads=self._decoders() if settings.decode_threads == "auto" else settings.decode_threads,
            finish_threads=writes if settings.finish_threads == "auto" else settings.finish_threads,
        )

    def fetch_threads(self, rate: float, latency_s: float) -> int:
        """Return the threads for `rate` reads a second of `latency_s` each."""
        given = self._settings.fetch_threads
        return self._threads(rate, latency_s) if given == "auto" else given

    def finish_threads(self, rate: float, latency_s: float) -> int:
        """Return the threads for `rate` groups of results a second, each written in `latency_s`."""
        given = self._settings.finish_threads
        return self._threads(rate, latency_s) if given == "auto" else given

    def prefetch(self, rate: float | None) -> int:
        """Return the most messages in flight at `rate` images/s. None: not measured yet."""
        if self._settings.prefetch != "auto":
            return self._settings.prefetch
        fewest = min(LARGEST_PREFETCH, _BATCHES * self._batch)
        fills_groups = self._batch > 1 if rate is None else rate * _GROUPS_S >= _GROUPS
        if self._is_remote and fills_groups:
            fewest = max(fewest, _GROUPS)
        return max(fewest, min(LARGEST_PREFETCH, math.ceil((rate or 0.0) * PREFETCHED_S)))

    def _threads(self, rate: float, latency_s: float) -> int:
        most = _MOST_REMOTE if self._is_remote else _MOST_LOCAL
        return max(_FEWEST, min(most, math.ceil(HEADROOM * rate * latency_s)))

    def _decoders(self) -> int:
        """Return a thread for each processor, as far as memory for their pictures goes."""
        by_memory = self._resources.memory_mb // _MB_PER_DECODER
        return max(_FEWEST, min(_MOST_DECODERS, self._resources.cores, by_memory))
