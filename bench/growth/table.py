"""The table of times by size, and the line that sums it up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.growth.operations import Kind

FLOOR_MS = 1.0
"""A growth factor takes shorter times as this long: what they grow by is noise."""

Times = Mapping[str, float | None]
"""Milliseconds by the operation's name; None if this version does not have it."""


@dataclass(frozen=True, slots=True)
class Row:
    """One operation: its times by size, from the smallest catalogue to the largest."""

    name: str
    kind: Kind
    times: Sequence[float | None]

    @property
    def growth(self) -> float | None:
        """How many times as long it takes on the largest catalogue as on the smallest, by `FLOOR_MS`."""
        first, last = self.times[0], self.times[-1]
        if first is None or last is None:
            return None
        return max(last, FLOOR_MS) / max(first, FLOOR_MS)


def table(rows: Sequence[Row], sizes: Sequence[int]) -> Iterator[str]:
    """Yield the lines of a table in Markdown, and the line that sums it up."""
    yield f"| ms at | {' | '.join(f'{size:,}' for size in sizes)} | grown |"
    yield f"|---|{'---:|' * (len(sizes) + 1)}"
    for kind in ("read", "write", "upkeep"):
        for row in rows:
            if row.kind == kind:
                growth = "" if row.growth is None else f"×{row.growth:.1f}"
                yield f"| {row.name} | {' | '.join(map(_milliseconds, row.times))} | {growth} |"
    yield f"growth factors take times below {FLOOR_MS:.0f} ms as {FLOOR_MS:.0f} ms; medians of calls in one process"
    yield summary(rows, sizes[-1])


def summary(rows: Sequence[Row], images: int) -> str:
    """Return the last line. The slowest is a read, the most grown a read or a write."""
    asked = [row for row in rows if row.kind != "upkeep"]
    slowest = max((row.times[-1] or 0.0 for row in asked if row.kind == "read"), default=0.0)
    grown = max((row.growth for row in asked if row.growth is not None), default=1.0)
    return f"growth: slowest read {slowest:.0f} ms, most grown ×{grown:.1f}, {images:,} images"


def _milliseconds(time: float | None) -> str:
    if time is None:
        return "–"
    return f"{time:.1f}" if time < 10 else f"{time:.0f}"
