"""The suite `predecessor`: repeat what users reported of the system that Tagfleet replaces, and go further."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import fmean

from tagfleet.loadtest import figures
from tagfleet.loadtest.plan import LoadPlan, Start
from tagfleet.loadtest.record import LoadRun

PREDECESSOR = "predecessor"
_BOOT_S = 71.53


@dataclass(frozen=True)
class Row:
    """One run of the suite. `seconds` is the other system's time if it finished; `outcome` says how it fared."""

    count: int
    size: int
    outcome: str = ""
    seconds: float | None = None

    @property
    def label(self) -> str:
        size = "less than 2 kB" if self.size < 2_000 else f"about {self.size / 1000:.0f} kB"
        return f"{self.count:,} photos of {size}"


ROWS = (
    Row(20, 80_000, "230.15 s", 230.15),
    Row(30, 80_000, "215.67 s", 215.67),
    Row(27, 1_900, "about 600 s", 600.0),
    Row(40, 80_000, "looped after the 26th"),
    Row(60, 80_000, "memory errors"),
    Row(1_000, 80_000, "not tried"),
    Row(10_000, 80_000, "not tried"),
)
"""As its users reported them; a worker took 71.53 s to boot on average."""


def plans(up_to: int, base: LoadPlan) -> list[LoadPlan]:
    """Return a plan, from a cold start, for each row with at most `up_to` photos. All else is as in `base`."""
    return [
        base.model_copy(
            update={"label": row.label, "count": row.count, "sizes": (row.size,), "folder": None, "start": Start.COLD}
        )
        for row in ROWS
        if row.count <= up_to
    ]


def table(runs: list[LoadRun]) -> Iterator[str]:
    """Yield a Markdown table of our figures beside the other system's."""
    found = {run.plan.label: figures.compute(run) for run in runs}
    yield "| from zero workers | Tagfleet | response p50, p95 | images/s | the system it replaces | its time / ours |"
    yield "|---|---|---|---|---|---|"
    for row in ROWS:
        if (ours := found.get(row.label)) is None:
            continue
        took = f"{ours.seconds:.2f} s" if ours.sound and ours.seconds else f"{ours.tagged} of {ours.photos} tagged"
        response = f"{ours.response.p50:.2f} s, {ours.response.p95:.2f} s" if ours.response else ""
        rate = f"{ours.images_per_s:.1f}" if ours.images_per_s else ""
        ratio = f"{row.seconds / ours.seconds:.0f}" if row.seconds and ours.seconds and ours.sound else ""
        yield f"| {row.label} | {took} | {response} | {rate} | {row.outcome} | {ratio} |"
    boots = [boot.phases["ready"] for run in runs for boot in run.boots if "ready" in boot.phases]
    if boots:
        mean = fmean(boots)
        yield f"| a worker's boot, mean of {len(boots)} | {mean:.2f} s | | | {_BOOT_S} s | {_BOOT_S / mean:.0f} |"
