"""Measure several servers in turn and report the rates as a table."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence

OURS = "Tagfleet"

Runs = dict[str, Callable[[], float]]
"""By a server's title, the function that sends it a round's photos and returns the seconds taken."""


def measure(
    runs: Runs, count: int, rounds: int, missing: list[str], say: Callable[[str], None]
) -> dict[str, list[float]]:
    """Return images/s of each round of `count` photos. A server that fails moves to `missing`, with the reason."""
    rates: dict[str, list[float]] = {title: [] for title in runs}
    for number in range(rounds):
        order = list(rates)
        start = number % len(order)
        for title in order[start:] + order[:start]:  # another one first in each round
            try:
                rates[title].append(count / runs[title]())
            except RuntimeError as error:
                if title == OURS:
                    raise
                missing.append(f"{title}: failed in round {number + 1}: {error}")
                del rates[title]
        say(f"round {number + 1}: " + "; ".join(f"{title} {found[-1]:.1f}" for title, found in rates.items()))
    return rates


def report(rates: dict[str, list[float]], missing: Sequence[str], about: str) -> Iterator[str]:
    """Yield lines of markdown. A ratio is of two rates of the same round."""
    ours = rates[OURS]
    yield f"{about}; median (least–most):"
    yield ""
    yield "| | images/s | Tagfleet is so many times as fast |"
    yield "|---|---|---|"
    for title, theirs in rates.items():
        ratio = "" if theirs is ours else _spread(_ratios(ours, theirs), 2)
        yield f"| {title} | {_spread(theirs, 1)} | {ratio} |"
    for line in missing:
        yield f"| {line} | | |"


def verdict(rates: dict[str, list[float]], rival: str) -> str:
    """Return one line with Tagfleet's ratio to `rival`."""
    if not rates.get(rival):
        return f"Tagfleet/{rival}: not measured"
    return f"Tagfleet/{rival} {_spread(_ratios(rates[OURS], rates[rival]), 2)}, {len(rates[OURS])} rounds"


def _ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    return [our / their for our, their in zip(ours, theirs, strict=True)]


def _spread(values: Sequence[float], digits: int) -> str:
    low, middle, high = (f"{value:.{digits}f}" for value in (min(values), statistics.median(values), max(values)))
    return f"{middle} ({low}–{high})"
