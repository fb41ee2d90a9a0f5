"""The clairvoyant: the cheapest plan for a trace by somebody who knows all arrivals, boots and speeds beforehand.

1. The world has no weather. Every boot takes the mean of the boots in the run it is compared with, μ is exact, and
   images are divisible.
2. A forward sweep makes a plan. At each moment t it takes as many workers as keep every wait within W seconds, if they
   went on like that over the next `ahead` seconds:

       n(t) = ⌊max over τ in (t, t + ahead] of (A(τ − W) − S(t)) / (μ·(τ − t)) + rounding⌋

   A are the cumulated arrivals, S the cumulated images done: n follows the steepest slope up to a deadline, as in the
   optimal smoothing of stored video (Salehi et al., IEEE/ACM Transactions on Networking 6(4), 1998).
3. A worker that would be needed again within one boot, its break-even, is kept.
4. Boots are billed, and at least a minute for each worker.
5. The result is the cheapest plan over several W, `ahead` and `rounding` whose 95th percentile of waits is at most the
   given one. It is feasible, so the true optimum (an integer programme) may cost less, never more. `bound_cost` gives
   a lower bound: the work itself and one boot.
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
    """A feasible plan, its cost and its waits in seconds."""

    cost: float
    """$"""
    p95: float
    workers: tuple[int, ...]
    """Ready workers at each step."""
    step_s: float
    launched: int


def plan_clairvoyantly(trace: Trace, worker: WorkerSpec, p95_s: float) -> ClairvoyantPlan:
    """Return the cheapest plan found whose 95th percentile of waits is at most `p95_s`."""
    step = 1.0 if trace.length_s <= 4 * 3600 else 5.0
    arrived = _cumulate(trace, step)
    best: ClairvoyantPlan | None = None
    for stretch, ahead, rounding in product(_STRETCHES, _AHEAD_S, _ROUNDINGS):
        plan = _sweep(arrived, worker, max(step, p95_s * stretch), ahead, rounding, step)
        if plan.p95 <= p95_s and (best is None or plan.cost < best.cost):
            best = plan
    return best or _serve_at_once(arrived, worker, step)


def bound_cost(trace: Trace, worker: WorkerSpec) -> float:
    """Return a lower bound of any plan's cost in $: the work and one boot."""
    return worker.price / 3600 * max(worker.least_billed_s, trace.images / worker.throughput + worker.boot_s)


def _cumulate(trace: Trace, step: float) -> _Array:
    """The images that have arrived by the end of each step."""
    counts = np.zeros(math.ceil((trace.length_s + _TAIL_S) / step) + 1)
    for moment, count in trace.arrivals:
        counts[int(moment / step)] += count
    return np.cumsum(counts)


def _sweep(
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
    return _evaluate(arrived, _bridge_gaps(wanted, worker, step), worker, step)


def _bridge_gaps(wanted: npt.NDArray[np.int64], worker: WorkerSpec, step: float) -> npt.NDArray[np.int64]:
    """Keep each worker that would be away for less than a boot."""
    longest = int(worker.boot_s / step)
    kept = wanted.copy()
    for level in range(1, int(wanted.max(initial=0)) + 1):
        for end, start in _gaps(wanted >= level):
            if start - end <= longest:
                kept[end:start] = np.maximum(kept[end:start], level)
    return kept


def _edges(there: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The indexes at which periods of presence start and end."""
    change = np.diff(np.concatenate([[0], there.astype(np.int8), [0]]))
    return np.flatnonzero(change == 1), np.flatnonzero(change == -1)


def _gaps(there: npt.NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    starts, ends = _edges(there)
    return zip(ends[:-1].tolist(), starts[1:].tolist(), strict=True)


def _evaluate(arrived: _Array, workers: npt.NDArray[np.int64], worker: WorkerSpec, step: float) -> ClairvoyantPlan:
    """Compute what the plan costs and how long its images wait."""
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
    # images that arrive together may be done in different steps: half wait until the middle one, half until the last
    early = np.where(first < last, counts[came] // 2, 0.0)
    waits = np.concatenate([(first + last) / 2 - came, last - came]) * step + 1 / worker.throughput
    p95 = _p95(waits, np.concatenate([early, counts[came] - early]))
    return ClairvoyantPlan(worker.price / 3600 * billed, p95, tuple(workers.tolist()), step, launched)


def _p95(waits: _Array, images: _Array) -> float:
    """By nearest rank, weighted by images; 0 without images."""
    order = np.argsort(waits)
    rank = np.searchsorted(np.cumsum(images[order]), 0.95 * images.sum())
    return float(waits[order][rank]) if len(waits) else 0.0


def _serve_at_once(arrived: _Array, worker: WorkerSpec, step: float) -> ClairvoyantPlan:
    """The plan where none is quick enough: as many workers as each step's arrivals need."""
    counts = np.diff(np.concatenate([[0.0], arrived]))
    wanted = np.ceil(counts / (worker.throughput * step)).astype(np.int64)
    return _evaluate(arrived, _bridge_gaps(wanted, worker, step), worker, step)
