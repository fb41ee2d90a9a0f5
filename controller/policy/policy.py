"""The policy: decide what to do with each pool, from an observation and a memory. No clock, no I/O, no logging.

    Q  = max(0, V + D + Fo + λ·B − μ·(ready·B + Σ_booting max(0, B − remaining_i)))
    N* = ceil(λ/(ρ·μ) + Q/(μ·L))

1. Launch for the work that will be left. A worker launched now is ready in B seconds. Q is the number of images that
   will still wait then: what waits now (V visible, D delayed, Fo in flight but held by no live worker), plus what
   arrives until then (λ images/s), less what the ready and the booting workers finish (μ images/s each).
2. N* is the number of workers wanted: enough for the steady flow at utilisation ρ, and enough to clear Q within the
   drain goal L. It is at least the number of busy workers, at least 1 while anything waits or is in flight, and 0
   while nothing does and the flow would not fill one worker.
3. Be ready in time. N* is at least the schedule's floor, and at least ceil(foreseen/(ρ·μ)): foreseen is yesterday's
   images/s at the time when a worker launched now will be ready (`forecast`).
4. λ, μ and B are learned from the pool itself (`estimates`); ρ and L are settings.
5. All pools share one cap and one budget, in max-min fair shares (`budget`).
6. After a failed boot, launches are tried one by one, with pauses that double. After several, the breaker opens.
7. Drain workers beyond the most that were needed at any time within the keep time, which is how long it pays to keep a
   surplus worker (`scale_in`). A worker that may be working is drained before it is ended.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from controller.policy.budget import choose_price, compute_capacity, count_affordable, rank_pool, share_fairly
from controller.policy.estimates import estimate_arrival_rate, estimate_boot_s, estimate_throughput, update_estimates
from controller.policy.scale_in import choose_keep_s, find_peak, record_demand
from controller.state.model import Memory, Observation, Plan, Policy, PoolMemory, PoolView, Stage, Worker
from core.fleet.decisions import Decision, Details, Rule
from core.fleet.terms import Terms
from core.util.backoff import compute_backoff

Decide = Callable[[Observation, Memory, Policy], tuple[Plan, Memory]]
"""The type of `decide`. `controller.simulation` has other policies of this type."""
_FIRST_PAUSE_S = 1.0


def decide(observation: Observation, memory: Memory, policy: Policy) -> tuple[Plan, Memory]:
    """Return one decision for every pool, under one cap and one budget, and what to remember.

    No pool both launches and drains. Only drained, lost, orphan and overdue instances are ended. A pool whose reading
    failed stays as it is, and a paused fleet neither launches nor drains.
    """
    elapsed = observation.elapsed_s
    ours = [worker for view in observation.pools for worker in view.workers if worker.ours]
    billable, spend = len(ours), sum(worker.price for worker in ours)
    terms: dict[str, Terms] = {}
    remembered = dict(memory)
    for view in observation.pools:
        known = _remember(view, memory.get(view.pool, PoolMemory()), elapsed, policy)
        found = compute_terms(view, known, billable, policy, spend)
        terms[view.pool], remembered[view.pool] = (found, known) if view.unread else _add_times(found, known, elapsed)

    paused = observation.paused
    capacity = compute_capacity(terms.values(), billable, policy)
    shares = share_fairly(terms, capacity)
    terms = {pool: replace(each, granted=shares[pool]) for pool, each in terms.items()}
    asked = {view.pool: _choose_launches(view, terms[view.pool], paused, policy) for view in observation.pools}

    free, remaining = capacity - billable, policy.budget_per_hour - spend
    leaving = billable - sum(each.own + each.unanswered for each in terms.values())
    room = max(0, sum(count for count, _ in asked.values()) - free - leaving)
    decisions = {}
    for view in sorted(observation.pools, key=lambda view: rank_pool(view.pool, terms[view.pool], 0)):
        payable = count_affordable(terms[view.pool].price_per_hour, remaining, policy)
        limit = max(0, min(free, payable))
        decision = _decide_pool(view, terms[view.pool], asked[view.pool], limit, room, policy)
        free -= decision.launch
        remaining -= decision.launch * decision.terms.price_per_hour
        room -= len(decision.drain)
        decisions[view.pool] = replace(decision, details=_explain(decision, view, remembered[view.pool], policy))
    return Plan(tuple(decisions[view.pool] for view in observation.pools), paused), remembered


# --- the formula ------------------------------------------------------------------------------


def compute_terms(view: PoolView, memory: PoolMemory, billable: int, policy: Policy, spend: float = 0.0) -> Terms:
    """Compute the terms of a pool, from the counts of its queue and its workers to N*.

    `billable` instances of all pools cost `spend` $/h. `granted`, the fair share, is still 0.
    """
    crew = _count_workers(view.workers)
    terms = Terms(
        **crew,
        **_compute_work(view, memory, crew, policy),
        utilisation=policy.utilisation,
        drain_goal_s=policy.drain_goal_s,
        needed=0,
        granted=0,
        cap=policy.max_workers,
        cap_source=policy.cap_source,
        billable=billable,
        below_s=memory.below_s,
        starved_s=memory.starved_s,
        failures=memory.failures,
        retry_in_s=memory.retry_in_s,
        price_per_hour=choose_price(view, policy.budget_per_hour - spend, policy),
        spend_per_hour=spend,
        budget_per_hour=policy.budget_per_hour,
        floor=view.floor,
        foreseen=view.foreseen,
    )
    keep_s = max(policy.stabilisation_s, policy.linger_s, choose_keep_s(memory.idle_gaps, terms.boot_s))
    terms = replace(terms, wanted=max(terms.wanted, terms.ahead), keep_s=keep_s)
    return replace(terms, needed=terms.own if view.unread else _limit_by_failures(view, terms, memory))


def _compute_work(view: PoolView, memory: PoolMemory, crew: dict[str, int], policy: Policy) -> dict[str, Any]:
    """Compute Q, N* (without schedule and forecast) and the terms behind them."""
    depth, boot, speed = view.depth, estimate_boot_s(memory, policy), estimate_throughput(memory, policy)
    rate = estimate_arrival_rate(memory, boot)
    at_work = [worker for worker in view.workers if worker.stage.ready or worker.stage.leaving]
    # Messages of a worker that is about to be ended return to the queue.
    held = sum(worker.held for worker in at_work if view.unread or not must_end(worker, policy))
    orphaned = max(0, depth.in_flight - held)
    head_start = sum(boot - max(0.0, boot - worker.age_s) for worker in view.workers if worker.stage.coming)

    waiting = depth.visible + depth.delayed + orphaned
    backlog = _compute_backlog(waiting + rate * boot, speed, (crew["idle"] + crew["busy"]) * boot + head_start)
    return {
        "visible": depth.visible,
        "in_flight": depth.in_flight,
        "delayed": depth.delayed,
        "dead": depth.dead,
        "orphaned": orphaned,
        "arrival_rate": rate,
        "throughput": speed,
        "boot_s": boot,
        "head_start_s": head_start,
        "backlog": backlog,
        "wanted": max(_count_for_work(rate, backlog, speed, depth.outstanding, policy), crew["busy"]),
    }


def _compute_backlog(images: float, speed: float, worker_s: float) -> float:
    """Q of the module's docstring: the `images` that are left after `worker_s` seconds of work, of all workers."""
    return max(0.0, images - speed * worker_s)


def _count_for_work(rate: float, backlog: float, speed: float, outstanding: int, policy: Policy) -> int:
    """N* of the module's docstring. `rate` and `speed` are in images/s, `backlog` and `outstanding` in images."""
    flow = rate / (policy.utilisation * speed) + backlog / (speed * policy.drain_goal_s)
    wanted = math.ceil(flow) if outstanding or flow >= 1 else 0
    return max(wanted, min(1, outstanding))


def _count_workers(workers: Sequence[Worker]) -> dict[str, int]:
    """Count the workers by stage. `ending` are all that are neither capacity, nor unanswered, nor draining."""
    at = [worker.stage for worker in workers].count
    counts = {
        "requested": at(Stage.REQUESTED),
        "unanswered": at(Stage.UNANSWERED),
        "booting": at(Stage.PENDING) + at(Stage.BOOTING) + at(Stage.WARMING),
        "idle": at(Stage.IDLE),
        "busy": at(Stage.BUSY),
        "draining": at(Stage.DRAINING) + at(Stage.INTERRUPTED),
    }
    by_hand = sum(worker.stage.coming or worker.stage.ready for worker in workers if not worker.ours)
    return {**counts, "ending": len(workers) - sum(counts.values()), "by_hand": by_hand}


def _add_times(terms: Terms, memory: PoolMemory, elapsed_s: float) -> tuple[Terms, PoolMemory]:
    """Add how long the pool has had too many workers, or none although it needs one, and its peak demand."""
    below = _lengthen(terms.own > terms.needed, memory.below_s, elapsed_s)
    starved = _lengthen(terms.needed > 0 and terms.own == 0, memory.starved_s, elapsed_s)
    history, gaps = record_demand(memory.demand_history, memory.idle_gaps, terms.needed, elapsed_s)
    return (
        replace(terms, below_s=below, starved_s=starved, peak=find_peak(history, terms.keep_s)),
        replace(memory, below_s=below, starved_s=starved, demand_history=history, idle_gaps=gaps),
    )


def _lengthen(holds: bool, since_s: float | None, elapsed_s: float) -> float | None:
    if not holds:
        return None
    return 0.0 if since_s is None else since_s + elapsed_s


# --- failures ---------------------------------------------------------------------------------


def _remember(view: PoolView, memory: PoolMemory, elapsed_s: float, policy: Policy) -> PoolMemory:
    """Update the estimates, the failures in a row, and the pause before the next launch."""
    memory = update_estimates(view, memory, elapsed_s, policy)
    delta = view.delta
    over = delta.handled > 0 if memory.broken else bool(delta.boots)
    lately = delta.failures + delta.broken
    failures, broken = lately + (0 if over else memory.failures), delta.broken + (0 if over else memory.broken)
    if not failures:
        return replace(memory, failures=0, broken=0, retry_in_s=0.0, notice="", refused="")
    if not lately:
        return replace(memory, retry_in_s=max(0.0, memory.retry_in_s - elapsed_s))
    if delta.lasting:
        failures = max(failures, policy.breaker_failures)
    pause = _compute_pause(failures, policy)
    memory = replace(memory, failures=failures, broken=broken, retry_in_s=pause)
    return replace(memory, notice=delta.notice, refused=delta.refused)


def _compute_pause(failures: int, policy: Policy) -> float:
    """Return the pause in seconds: it doubles from one second with each failure, until the circuit breaker opens."""
    if failures >= policy.breaker_failures:
        return policy.breaker_reset_s
    return compute_backoff(failures - 1, base_s=_FIRST_PAUSE_S, cap_s=policy.breaker_reset_s)


def _limit_by_failures(view: PoolView, terms: Terms, memory: PoolMemory) -> int:
    """Return how many workers our own fleet must supply: N* without workers started by hand, limited after a failure.

    After a failed boot, launches are tried one at a time, each after its pause, until a worker is ready. After a worker
    broke at work, they are tried until one finishes an image, because each that breaks costs its messages a delivery.
    The pool asks for no more of the cap than that, so a pool whose workers do not boot takes no room from the others.
    Our busy workers count as needed, even where workers started by hand could do their work.
    """
    busy = sum(worker.ours and worker.stage is Stage.BUSY for worker in view.workers)
    wanted, own = max(busy, terms.wanted - terms.by_hand), terms.own
    if wanted > own and not view.offerings:
        return own
    if not memory.failures or wanted <= own:
        return wanted
    unproven = terms.coming or (own if memory.broken else 0)
    return own if memory.retry_in_s > 0 or unproven else own + 1


# --- one pool ---------------------------------------------------------------------------------


def _choose_launches(view: PoolView, terms: Terms, paused: bool, policy: Policy) -> tuple[int, Rule]:
    """Return how many launches the pool's share allows and its work can use, and the rule behind the number.

    This ignores how much of the cap is free.
    """
    if view.unread:
        return 0, Rule.UNREAD
    if paused:
        return 0, Rule.PAUSED
    if not terms.outstanding and not terms.supply and not terms.ahead:
        return 0, Rule.REST
    if terms.supply >= terms.wanted or (terms.supply and not terms.backlog and terms.supply >= terms.ahead):
        return 0, Rule.ENOUGH
    if terms.retry_in_s > 0:
        return 0, Rule.BREAKER if terms.failures >= policy.breaker_failures else Rule.BACK_OFF
    if not view.offerings:
        return 0, Rule.NO_CAPACITY
    if terms.granted < terms.needed and terms.granted <= terms.own:
        return 0, _name_limit(terms, policy)
    return max(0, terms.granted - terms.own), Rule.TRIAL if terms.failures else Rule.LAUNCH


def _decide_pool(
    view: PoolView, terms: Terms, asked: tuple[int, Rule], limit: int, room: int, policy: Policy
) -> Decision:
    """Decide for one pool. At most `limit` launches are free; other pools wait for `room` instances."""
    count, rule = asked
    launch = min(count, limit)
    if count and not launch:
        rule = _name_limit(terms, policy)
    drain: tuple[str, ...] = ()
    if rule not in (Rule.UNREAD, Rule.PAUSED) and terms.own > terms.granted:
        drain, rule = _choose_drains(view, terms, room, rule, policy)
    terminate = () if view.unread else tuple(worker.id for worker in view.workers if must_end(worker, policy))
    return Decision(view.pool, launch, drain, terminate, rule, terms)


def _name_limit(terms: Terms, policy: Policy) -> Rule:
    """Return the limit that another instance would exceed: the budget, or else the cap."""
    remaining = policy.budget_per_hour - terms.spend_per_hour
    affordable = count_affordable(terms.price_per_hour, remaining, policy)
    return Rule.BUDGET if policy.max_workers and affordable < 1 else Rule.CAP


def _choose_drains(view: PoolView, terms: Terms, room: int, rule: Rule, policy: Policy) -> tuple[tuple[str, ...], Rule]:
    """Choose the workers to drain in a pool that has more than its share: idle ones, the longest idle first.

    1. If another pool waits for room, or a limit was lowered, drain at once. Drain busy workers too, if the share is
       less than the work needs, or more instances exist than the limit allows.
    2. Otherwise drain as many as exceed the peak demand within the keep time (`scale_in`), or as have been idle for
       that long. Peak demand comes first because a queue hands its next message to any worker: with a surplus, each
       worker may be busy now and then.
    """
    surplus = terms.own - terms.granted
    ours = [worker for worker in view.workers if worker.ours]
    idle = sorted((w for w in ours if w.stage is Stage.IDLE), key=lambda w: (-w.stage_s, w.id))
    if room:
        scarce = terms.granted < terms.needed or terms.billable > terms.cap or terms.over_budget
        spare = surplus - sum(w.stage.coming for w in ours) - len(idle) if scarce else 0
        busy = sorted((w for w in ours if w.stage is Stage.BUSY), key=lambda w: (w.held, w.id))
        chosen = (idle + busy[: max(0, spare)])[: min(surplus, room)]
        if chosen:
            return tuple(worker.id for worker in chosen), Rule.MAKE_ROOM
    if terms.below_s is None:
        return (), rule
    if terms.below_s < policy.stabilisation_s:
        return (), Rule.SETTLING
    beyond = terms.own - max(terms.granted, terms.peak) if terms.below_s >= terms.keep_s else 0
    ripe = max(0, beyond, sum(worker.stage_s >= terms.keep_s for worker in idle))
    count = _limit_drains(terms, min(surplus, ripe, len(idle)), policy)
    leaving = tuple(worker.id for worker in idle[:count])
    return leaving, Rule.SCALE_IN if leaving else Rule.LINGER


def _limit_drains(terms: Terms, count: int, policy: Policy) -> int:
    """Return how many of `count` idle workers can go without being needed again at once.

    Q counts what a ready worker finishes within one boot. Without that worker Q and N* are higher, and a worker would
    be launched in its place.
    """
    images = terms.visible + terms.delayed + terms.orphaned + terms.arrival_rate * terms.boot_s
    for leaving in range(count, 0, -1):
        worker_s = (terms.idle + terms.busy - leaving) * terms.boot_s + terms.head_start_s
        backlog = _compute_backlog(images, terms.throughput, worker_s)
        wanted = _count_for_work(terms.arrival_rate, backlog, terms.throughput, terms.outstanding, policy)
        if wanted - terms.by_hand <= terms.own - leaving:
            return leaving
    return 0


def _explain(decision: Decision, view: PoolView, memory: PoolMemory, policy: Policy) -> Details:
    """Return the facts that the decision's sentence names beside the terms."""
    stages = {worker.id: worker.stage for worker in view.workers}
    return Details(
        because=view.unread,
        refused=memory.refused,
        notice=memory.notice,
        broken=memory.broken > 0,
        any_idle=any(worker.ours and worker.stage is Stage.IDLE for worker in view.workers),
        idle_s=min((worker.stage_s for worker in view.workers if worker.id in decision.drain), default=0.0),
        settle_s=policy.stabilisation_s,
        ended=tuple(str(stages[id_]) for id_ in decision.terminate),
    )


def must_end(worker: Worker, policy: Policy) -> bool:
    """Return whether to end this instance: it cannot be working any more, or its time to drain is over."""
    if worker.stage.coming or worker.stage.ready:
        return False
    if worker.stage.leaving:
        return worker.ours and worker.stage_s >= policy.drain_deadline_s
    if worker.stage is Stage.ORPHAN:
        return worker.ours and worker.stage_s >= policy.lost_after_s
    return worker.ours and worker.stage in (Stage.DRAINED, Stage.LOST, Stage.BOOT_FAILED)
