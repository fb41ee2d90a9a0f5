"""How long workers beyond the need have stayed so, and how long it pays to keep one. Pure.

A worker that is let go and needed again costs a boot; one that is kept costs the time until then. Who knew how long
that will be would keep it if it is less than a boot (the ski-rental problem); whoever learned how long it usually is
keeps it for the time that would have cost least so far (Irani, Shukla, Gupta, "Online strategies for dynamic power
management", ACM TECS 2(3), 2003; Karlin et al., "Competitive randomized algorithms for non-uniform problems", SODA
1990).
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

Rung = tuple[float, int]
"""Seconds since so many workers were needed last, and how many."""
Gap = tuple[float, int]
"""Seconds for which workers were not needed until they were again, and how many workers."""

_RUNGS = 40
_GAPS = 20
_TRUSTED = 3
"""Of fewer returns nothing is learned."""
_LONGEST_S = 3600.0
_MOST_BOOTS = 2.0
"""Nobody is kept for longer than so many boots."""
_MARGIN = 1.25
"""The next gap may be a little longer than the last ones."""


def note(
    ladder: tuple[Rung, ...], gaps: tuple[Gap, ...], needed: int, elapsed_s: float
) -> tuple[tuple[Rung, ...], tuple[Gap, ...]]:
    """Take in how many are needed now. The ladder goes up in both age and number; its first rung is now.

    A gap began between the tick that still needed the worker and the next: half of that belongs to it.
    """
    aged = [(min(_LONGEST_S, age + elapsed_s), count) for age, count in ladder]
    found = []
    for (_, below), (age, count) in pairwise(aged):
        if needed > below:
            found.append((age - elapsed_s / 2, min(needed, count) - below))
    rungs = [(0.0, needed), *(rung for rung in aged if rung[1] > needed)]
    if len(rungs) > _RUNGS:
        del rungs[-2]
    return tuple(rungs), (gaps + tuple(found))[-_GAPS:]


def peak(ladder: tuple[Rung, ...], within_s: float) -> int:
    """The most workers that were needed at one time within the last so many seconds."""
    return max((count for age, count in ladder if age < within_s), default=0)


@lru_cache(maxsize=64)  # gaps change seldom, and every tick of every pool asks
def worth_keeping_s(gaps: tuple[Gap, ...], boot_s: float) -> float:
    """For how long keeping a worker that is not needed would have cost least; 0 while too little is known."""
    if sum(count for _, count in gaps) < _TRUSTED:
        return 0.0
    choices = [0.0, *(gap * _MARGIN for gap, _ in gaps if gap * _MARGIN <= _MOST_BOOTS * boot_s)]
    return min(choices, key=lambda kept: (sum(n * (g if g <= kept else kept + boot_s) for g, n in gaps), kept))
