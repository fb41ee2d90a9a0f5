"""Turn a live controller's recording (`controller.events.replay`) into traces for a simulation.

The arrivals of a tick are what the queue has grown by since the reading before, plus what was completed meanwhile: the
policy estimates arrivals in the same way. They are spread evenly over the time between the two readings.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from controller.events.replay import HEADING, RecordedTick, read
from controller.simulation.traces import Trace
from controller.state.model import PoolView


def is_recording(path: Path) -> bool:
    """Return whether the file starts as a recording does. Raises OSError."""
    with path.open("rb") as file:
        return file.read(len(HEADING)) == HEADING.encode()


def from_recording(path: Path) -> list[Trace]:
    """Return a trace for each pool with arrivals, named after the file, and after the pool where there are several.

    Raises ValueError, whose text names the file and the line.
    """
    with path.open(encoding="utf-8") as file:
        try:
            pools, length_s = _arrivals(read(file)[1])
        except ValueError as error:
            raise ValueError(f"{path.name}, {error}") from None
    found = {pool: tuple(arrivals.portions) for pool, arrivals in sorted(pools.items()) if arrivals.portions}
    if not found:
        raise ValueError(f"{path.name}: nothing arrived while it was recorded")
    several = len(found) > 1
    return [
        Trace(f"{path.stem}-{pool}" if several else path.stem, length_s, arrivals) for pool, arrivals in found.items()
    ]


def _arrivals(ticks: Iterable[RecordedTick]) -> tuple[dict[str, _Arrivals], float]:
    """The arrivals by pool, and the seconds observed. Time that nobody observed is left out."""
    pools: dict[str, _Arrivals] = {}
    now = 0.0
    for tick in ticks:
        now += tick.observation.elapsed_s
        for view in tick.observation.pools:
            if not view.unread:
                pools.setdefault(view.pool, _Arrivals()).look(view, now)
    return pools, now


@dataclass(slots=True)
class _Arrivals:
    """The arrivals of one pool, reading by reading."""

    portions: list[tuple[float, int]] = field(default_factory=list)
    total: int | None = None
    """Messages in the queue and its dead letters at the last reading."""
    at: float = 0.0
    owed: int = 0
    """Images counted too many: counts lag behind completions and may include messages that do not exist."""

    def look(self, view: PoolView, now: float) -> None:
        total = view.depth.outstanding + view.depth.dead
        before = view.depth.dead if self.total is None else self.total
        grown = total - before + view.delta.handled
        if grown != view.delta.arrived:  # a controller's first tick: it does not know what was completed before
            self.owed, grown = 0, max(0, grown)
        count = grown - self.owed
        self.owed = max(0, -count)
        self.portions += _spread(max(0, count), self.at, now)
        self.total, self.at = total, now


def _spread(count: int, start: float, end: float) -> Iterator[tuple[float, int]]:
    """At most one portion a second, each in the middle of its share of the time."""
    parts = max(1, min(count, round(end - start)))
    for part in range(parts):
        if share := count * (part + 1) // parts - count * part // parts:
            yield start + (end - start) * (part + 0.5) / parts, share
