"""Measure the local queue with N messages waiting: sends, receives and the depth.

Times are processor time of this process, so that other load on the machine changes them little.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from core.local.queue import LocalQueue

_BODY = "x" * 330
_FILL = 1_000
_ROUNDS = 20
_GROUP = 100


@dataclass(frozen=True, slots=True)
class QueueSpeed:
    """What one queue does with `waiting` messages: messages per second of processor time, and seconds for a depth."""

    waiting: int
    sends: float
    receives: float
    depth_s: float


def measure(folder: Path, waiting: int) -> QueueSpeed:
    """Fill a new queue in `folder` with `waiting` messages and measure it. Sends and receives are in groups of 100."""
    queue = LocalQueue(folder / "queues.db", "jobs", visibility_timeout_s=600, max_receives=10)
    for start in range(0, waiting, _FILL):
        queue.send([_BODY] * min(_FILL, waiting - start))

    def pass_on() -> None:
        queue.delete(queue.receive(_GROUP, 0))

    group = [_BODY] * _GROUP
    sends = _GROUP / _seconds(lambda: queue.send(group))
    receives = _GROUP / _seconds(pass_on)
    depth_s = _seconds(queue.depth)
    queue.close()
    return QueueSpeed(waiting, sends, receives, depth_s)


@click.command()
@click.option("--messages", type=int, multiple=True, default=(10_000, 100_000, 1_000_000), show_default=True)
def command(messages: tuple[int, ...]) -> Iterator[str]:
    """Measure the local queue by the number of messages that wait."""
    for waiting in messages:
        with tempfile.TemporaryDirectory() as folder:
            found = measure(Path(folder), waiting)
        yield (
            f"{waiting:,} messages waiting: {found.sends:,.0f} sends/s, {found.receives:,.0f} receives/s,"
            f" depth {found.depth_s * 1e6:,.0f} µs (processor time)"
        )


def _seconds(work: Callable[[], object]) -> float:
    """Return the processor seconds of one call, the mean of several."""
    began = time.process_time()
    for _ in range(_ROUNDS):
        work()
    return (time.process_time() - began) / _ROUNDS
