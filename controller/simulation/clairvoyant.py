"""What could have been done by somebody who knew every arrival, every boot and every worker's speed beforehand.

The world is that of the trace without weather: every boot takes what boots took on average in the run that it is
compared with, μ is exact, images flow. A plan is made by a forward sweep: at each moment as many workers as keep every
wait within W, if they went on like that over the next `ahead` seconds,

    n(t) = ⌊max over τ in (t, t + ahead] of (A(τ − W) − S(t)) / (μ·(τ − t)) + rounding⌋

A the arrivals and S the images done so far, both cumulated: the steepest slope up to a deadline, as in optimal
smoothing of stored video (Salehi et al., IEEE/ACM Transactions on Networking 6(4), 1998). Then each worker that would
come back within its break-even, one boot, is kept instead. The workers' boots are billed, and the minute at least.

The plan that is told is the cheapest one, over W, `ahead` and `rounding`, whose 95th percentile of waits is no longer
than a given one. It is feasible and so never below the true optimum, which is an integer programme; `bound` is never
above it: the work itself and one boot of each worker that must be there at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from controller.simulation.scenario import WorkerSpec
from controller.simulation.traces import Trace

_Array = npt.NDArray[np.float64]

_STRETCHES = (1.0, 0.8, 1.1, 1.25, 1.5, 2.0)
_AHEAD_S = (60.0, 300.0)
_ROUNDINGS = (0.999, 0.7, 0.4)
_TAIL_S = 900.0


@dataclass(frozen=True, slots=True)
class ClairvoyantPlan:
    cost: float
    """$"""
    p95: float
    workers: tuple[int, ...]
    """Ready ones at each step."""
    step_s: float
    launched: int


def clairvoyant(trace: Trace, worker: WorkerSpec, p95_s: float) -> ClairvoyantPlan:
    """The cheapest plan found whose p95 of waits is at most `p95_s`."""
    step = 1.0 if trace.length_s <= 4 * 3600 else 5.0
    arrived = _cumulated(trace, step)
    best: ClairvoyantPlan | None = None
    for stretch, ahead, rounding in product(_STRETCHES, _AHEAD_S, _ROUNDINGS):
        plan = _plan(arrived, worker, max(step, p95_s * stretch), ahead, rounding, step)
        if plan.p95 <= p95_s and (best is None or plan.cost < best.cost):
            best = plan
    return best or _always_enough(arrived, worker, step)


def bound(trace: Trace, worker: WorkerSpec) -> float:
    """$ that nobody can do without: the work, and one boot."""
    return worker.price / 3600 * max(worker.least_billed_s, trace.images / worker.throughput + worker.boot_s)


def _cumulated(trace: Trace, step: float) -> _Array:
    """Images that have arrived by the end of each step."""
    counts = np.zeros(math.ceil((trace.length_s + _TAIL_S) / step) + 1)
    for moment, count in trace.arrivals:
        counts[int(moment / step)] += count
    return np.cumsum(counts)


def _plan(
    arrived: _Array, worker: WorkerSpec, wait_s: float, ahead_s: float, rounding: float, step: float
) -> ClairvoyantPlan:
    lag, ahead = int(wait_s / step), max(2, int(max(wait_s, ahead_s) / step))
    due = np.concatenate([np.zeros(lag), arrived, np.full(ahead + 1, arrived[-1])])
    reach = np.arange(1, ahead + 1) * (worker.throughput * step)
    share = worker.throughput * step
    wanted = np.zeros(len(arrived), dtype=np.int64)
    done = 0.0
    for now in range(len(arrived)):
        if arrived[now] - done < 1e-9 and due[now + ahead] - done < 1e-9:
            continue
        slope = float(((due[now + 1 : now + 1 + ahead] - done) / reach).max())
        count = max(0, math.floor(slope + rounding))
        if count == 1 and slope < 1 and arrived[now] - done < 1e-9:
            count = 0
        wanted[now] = count
        done = min(float(arrived[now]), done + count * share)
    return _told(arrived, _bridged(wanted, worker, step), worker, step)


def _bridged(wanted: npt.NDArray[np.int64], worker: WorkerSpec, step: float) -> npt.NDArray[np.int64]:
    """A worker that would be away for less than a boot stays."""
    longest = int(worker.boot_s / step)
    kept = wanted.copy()
    for level in range(1, int(wanted.max(initial=0)) + 1):
        for end, start in _gaps(wanted >= level):
            if start - end <= longest:
                kept[end:start] = np.maximum(kept[end:start], level)
    return kept


def _edges(there: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Where stretches of presence start, and where they end."""
    change = np.diff(np.concatenate([[0], there.astype(np.int8), [0]]))
    return np.flatnonzero(change == 1), np.flatnonzero(change == -1)


def _gaps(there: npt.NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    starts, ends = _edges(there)
    return zip(ends[:-1].tolist(), starts[1:].tolist(), strict=True)


def _told(arrived: _Array, workers: npt.NDArray[np.int64], worker: WorkerSpec, step: float) -> ClairvoyantPlan:
    """What the plan costs, and how long its images wait when its workers take whatever waits."""
    billed, launched = 0.0, 0
    for level in range(1, int(workers.max(initial=0)) + 1):
        starts, ends = _edges(workers >= level)
        stays = worker.boot_s + (ends - starts) * step
        billed += float(np.maximum(stays, worker.least_billed_s).sum())
        launched += len(starts)
    room = workers * (worker.throughput * step)
    # S(t) = min(A(t), S(t−1) + room(t)), written as a running minimum over A(t) − R(t), R the room cumulated.
    total = np.cumsum(room)
    done = np.minimum(np.minimum.accumulate(arrived - total), 0.0) + total
    # the n-th image is done in the step in which S reaches n
    counts = np.diff(np.concatenate([[0.0], arrived]))
    came = np.flatnonzero(counts)
    last = np.searchsorted(done, arrived[came] - 1e-6)
    first = np.searchsorted(done, arrived[came] - counts[came] + 1e-6)
    if last.max(initial=0) >= len(done):
        return ClairvoyantPlan(math.inf, math.inf, (), step, launched)
    # of images that arrived together and are done in different steps half wait for the middle one, half for the last
    early = np.where(first < last, counts[came] // 2, 0.0)
    waits = np.concatenate([(first + last) / 2 - came, last - came]) * step + 1 / worker.throughput
    p95 = _p95(waits, np.concatenate([early, counts[came] - early]))
    return ClairvoyantPlan(worker.price / 3600 * billed, p95, tuple(workers.tolist()), step, launched)


def _p95(waits: _Array, images: _Array) -> float:
    """By nearest rank, of so many images each; 0 where there are none."""
    order = np.argsort(waits)
    rank = np.searchsorted(np.cumsum(images[order]), 0.95 * images.sum())
    return float(waits[order][rank]) if len(waits) else 0.0


def _always_enough(arrived: _Array, worker: WorkerSpec, step: float) -> ClairvoyantPlan:
    """Where no plan is quick enough: as many workers as each step's arrivals need."""
    counts = np.diff(np.concatenate([[0.0], arrived]))
    wanted = np.ceil(counts / (worker.throughput * step)).astype(np.int64)
    return _told(arrived, _bridged(wanted, worker, step), worker, step)
