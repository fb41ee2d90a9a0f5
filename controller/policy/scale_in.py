"""Scale-in: how long workers have not been needed, and how long it pays to keep one.

1. A worker that is drained and needed again costs a boot. A worker that is kept costs the time until it is needed.
2. With the future known, one would keep a worker only if that time is shorter than a boot (the ski-rental problem).
   With past idle gaps known, one keeps it for the time that would have cost least over those gaps (Irani,
   Shukla, Gupta, "Online strategies for dynamic power management", ACM TECS 2(3), 2003; Karlin et al., "Competitive
   randomized algorithms for non-uniform problems", SODA 1990).
3. The demand history gives the most workers needed at one time within any recent period, in at most 40 entries.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

Demand = tuple[float, int]
"""(s, n): n workers or more were last needed s seconds ago."""
IdleGap = tuple[float, int]
"""(s, n): n workers were not needed for s seconds, and then needed again."""

_ENTRIES = 40
_GAPS = 20
_MIN_RETURNS = 3
"""Fewer returns of workers into use than this teach nothing."""
_LONGEST_S = 3600.0
_MOST_BOOTS = 2.0
"""Past gaps never keep a worker for longer than this many boots."""
_MARGIN = 1.25
"""The next gap may be a little longer than the last ones."""


def record_demand(
    history: tuple[Demand, ...], gaps: tuple[IdleGap, ...], needed: int, elapsed_s: float
) -> tuple[tuple[Demand, ...], tuple[IdleGap, ...]]:
    """Add how many workers are needed now; return the new history and the new idle gaps.

    The history rises in both age and number; its first entry is now. A gap began between the last tick that needed the
    worker and the next one, so it is counted from the middle.
    """
    aged = [(min(_LONGEST_S, age + elapsed_s), count) for age, count in history]
    ended = []
    for (_, below), (age, count) in pairwise(aged):
        if needed > below:
            ended.append((age - elapsed_s / 2, min(needed, count) - below))
    entries = [(0.0, needed), *(entry for entry in aged if entry[1] > needed)]
    if len(entries) > _ENTRIES:
        del entries[-2]
    return tuple(entries), (gaps + tuple(ended))[-_GAPS:]


def find_peak(history: tuple[Demand, ...], within_s: float) -> int:
    """Return the most workers that were needed at one time within the last `within_s` seconds."""
    return max((count for age, count in history if age < within_s), default=0)


@lru_cache(maxsize=64)  # gaps change rarely, and every tick calls this for every pool
def choose_keep_s(gaps: tuple[IdleGap, ...], boot_s: float) -> float:
    """Return the seconds for which keeping a surplus worker would have cost least; 0 while too little is known.

    A gap g of n workers costs n·g if they are kept long enough, else n·(kept + boot_s). Candidates are 0 and each past
    gap with a margin of a quarter, up to two boots.
    """
    if sum(count for _, count in gaps) < _MIN_RETURNS:
        return 0.0
    choices = [0.0, *(gap * _MARGIN for gap, _ in gaps if gap * _MARGIN <= _MOST_BOOTS * boot_s)]
    return min(choices, key=lambda kept: (sum(n * (g if g <= kept else kept + boot_s) for g, n in gaps), kept))
