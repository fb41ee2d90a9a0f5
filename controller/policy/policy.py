"""The policy: what is seen and remembered → what to do, and why. Pure: no clock, no I/O, no logging.

    Q  = max(0, V + D + Fo + λ·B − μ·(ready·B + Σ_booting max(0, B − remaining_i)))
    N* = ceil(λ/(ρ·μ) + Q/(μ·L)), at least the busy ones, at least 1 while anything waits or is in flight,
         and 0 while nothing does and arrivals would not fill one worker; but never less than what is to be up before
         the work: the schedule's floor, and ceil(foreseen/(ρ·μ))

V visible, D delayed, Fo in flight but held by no live worker; λ arrivals/s, μ images/s a worker, B seconds from launch
to ready (all three learned, `policy.estimates`); floor and foreseen, images/s, are those of the time at which a
worker launched now is up (`policy.forecast`); ρ the utilisation and L the drain goal of the settings. Q is what
will still wait when a worker launched now is up: work that the fleet clears without it calls for none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from controller.policy.budget import affordable, price_of, rank, seats_of, share_out
from controller.policy.estimates import arrival_rate, boot_time, learn, throughput
from controller.policy.scale_in import note, peak, worth_keeping_s
from controller.state.model import Memory, Observation, Plan, Policy, PoolMemory, PoolView, Stage, Worker
from core.fleet.decisions import Decision, Details, Rule
from core.fleet.terms import Terms

Decide = Callable[[Observation, Memory, Policy], tuple[Plan, Memory]]
"""What `decide` is one of: others stand in `controller.simulation`."""
_FIRST_BACK_OFF_S = 1.0


def decide(observation: Observation, memory: Memory, policy: Policy) -> tuple[Plan, Memory]:
    """One decision for every pool, under one cap and one budget.

    No pool is given both launches and drains. Drained, lost and overdue instances are ended; a worker that may be
    working never is. A pool whose reading failed is left as it is, and a paused fleet neither grows nor shrinks.
    """
    elapsed = observation.elapsed_s
    ours = [worker for view in observation.pools for worker in view.workers if worker.ours]
    billable, spend = len(ours), sum(worker.price for worker in ours)
    terms: dict[str, Terms] = {}
    remembered = dict(memory)
    for view in observation.pools:
        known = _remember(view, memory.get(view.pool, PoolMemory()), elapsed, policy)
        weighed = weigh(view, known, billable, policy, spend)
        terms[view.pool], remembered[view.pool] = (weighed, known) if view.unread else _timed(weighed, known, elapsed)

    seats = seats_of(terms.values(), billable, policy)
    shares = share_out(terms, seats)
    terms = {pool: replace(each, granted=shares[pool]) for pool, each in terms.items()}
    asked = {view.pool: _asked(view, terms[view.pool], observation.paused, policy) for view in observation.pools}

    free, purse = seats - billable, policy.budget_per_hour - spend
    leaving = billable - sum(each.own + each.unanswered for each in terms.values())
    room = max(0, sum(count for count, _ in asked.values()) - free - leaving)
    plans = {}
    for view in sorted(observation.pools, key=lambda view: rank(view.pool, terms[view.pool], 0)):
        payable = affordable(terms[view.pool].price_per_hour, purse, policy)
        plan = _plan(view, terms[view.pool], asked[view.pool], max(0, min(free, payable)), room, policy)
        free -= plan.launch
        purse -= plan.launch * plan.terms.price_per_hour
        room -= len(plan.drain)
        plans[view.pool] = replace(plan, details=_details(plan, view, remembered[view.pool], policy))
    return Plan(tuple(plans[view.pool] for view in observation.pools), observation.paused), remembered


# --- the formula ------------------------------------------------------------------------------


def weigh(view: PoolView, memory: PoolMemory, billable: int, policy: Policy, spend: float = 0.0) -> Terms:
    """The terms of a pool, from the counts of its queue and workers to N*."""
    depth, crew = view.depth, _crew(view.workers)
    boot, speed = boot_time(memory, policy), throughput(memory, policy)
    rate = arrival_rate(memory, boot)
    at_work = [worker for worker in view.workers if worker.stage.ready or worker.stage.leaving]
    held = sum(worker.held for worker in at_work if view.unread or not to_end(worker, policy))  # else it comes back
    orphaned = max(0, depth.in_flight - held)
    head_start = sum(boot - max(0.0, boot - worker.age_s) for worker in view.workers if worker.stage.coming)

    ready, waiting = crew["idle"] + crew["busy"], depth.visible + depth.delayed + orphaned
    backlog = max(0.0, waiting + rate * boot - speed * (ready * boot + head_start))
    flow = rate / (policy.utilisation * speed) + backlog / (speed * policy.drain_goal_s)
    wanted = math.ceil(flow) if depth.outstanding or flow >= 1 else 0
    wanted = max(wanted, crew["busy"], min(1, depth.outstanding))

    coming = crew["requested"] + crew["booting"]
    own = coming + ready - crew["by_hand"]
    terms = Terms(
        **crew,
        visible=depth.visible,
        in_flight=depth.in_flight,
        delayed=depth.delayed,
        dead=depth.dead,
        orphaned=orphaned,
        arrival_rate=rate,
        throughput=speed,
        boot_s=boot,
        utilisation=policy.utilisation,
        drain_goal_s=policy.drain_goal_s,
        head_start_s=head_start,
        backlog=backlog,
        wanted=wanted,
        needed=0,
        granted=0,
        cap=policy.max_workers,
        cap_source=policy.cap_source,
        billable=billable,
        below_s=memory.below_s,
        starved_s=memory.starved_s,
        failures=memory.failures,
        retry_in_s=memory.retry_in_s,
        price_per_hour=price_of(view, policy.budget_per_hour - spend, policy),
        spend_per_hour=spend,
        budget_per_hour=policy.budget_per_hour,
        keep_s=max(policy.stabilisation_s, policy.linger_s, worth_keeping_s(memory.gaps, boot)),
        floor=view.floor,
        foreseen=view.foreseen,
    )
    wanted = max(wanted, terms.ahead)
    needed = own if view.unread else _within_reach(view, max(0, wanted - crew["by_hand"]), own, coming, memory)
    return replace(terms, wanted=wanted, needed=needed)


def _crew(workers: Sequence[Worker]) -> dict[str, int]:
    """The workers by what they are good for; whoever is neither capacity nor draining is on its way out."""
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


def _timed(terms: Terms, memory: PoolMemory, elapsed_s: float) -> tuple[Terms, PoolMemory]:
    """How long the target has been below the fleet, and the pool without a worker that it needs."""
    below = _lasting(terms.own > terms.needed, memory.below_s, elapsed_s)
    starved = _lasting(terms.needed > 0 and terms.own == 0, memory.starved_s, elapsed_s)
    ladder, gaps = note(memory.ladder, memory.gaps, terms.needed, elapsed_s)
    return (
        replace(terms, below_s=below, starved_s=starved, peak=peak(ladder, terms.keep_s)),
        replace(memory, below_s=below, starved_s=starved, ladder=ladder, gaps=gaps),
    )


def _lasting(holds: bool, since_s: float | None, elapsed_s: float) -> float | None:
    if not holds:
        return None
    return 0.0 if since_s is None else since_s + elapsed_s


# --- boot failures ----------------------------------------------------------------------------


def _remember(view: PoolView, memory: PoolMemory, elapsed_s: float, policy: Policy) -> PoolMemory:
    """Learn, count failures in a row, and run the back-off down."""
    memory = learn(view, memory, elapsed_s, policy)
    news = view.news
    over = news.handled > 0 if memory.broken else bool(news.boots)
    lately = news.failures + news.broken
    failures, broken = lately + (0 if over else memory.failures), news.broken + (0 if over else memory.broken)
    if not failures:
        return replace(memory, failures=0, broken=0, retry_in_s=0.0, notice="", refused="")
    if not lately:
        return replace(memory, retry_in_s=max(0.0, memory.retry_in_s - elapsed_s))
    if news.lasting:
        failures = max(failures, policy.breaker_failures)
    pause = _pause(failures, policy)
    memory = replace(memory, failures=failures, broken=broken, retry_in_s=pause)
    return replace(memory, notice=news.notice, refused=news.refused)


def _pause(failures: int, policy: Policy) -> float:
    """Doubles from one second with each failure in a row, until the circuit breaker opens."""
    if failures >= policy.breaker_failures:
        return policy.breaker_reset_s
    return min(_FIRST_BACK_OFF_S * 2.0 ** min(failures - 1, 30), policy.breaker_reset_s)


def _within_reach(view: PoolView, wanted: int, own: int, coming: int, memory: PoolMemory) -> int:
    """After a failed boot launches are tried one by one, each after its pause, until one of them is ready.

    After workers that broke at work, until one has finished an image: each that breaks costs its messages a delivery.
    A pool asks for no more of the cap than that, so that one whose workers do not boot, or are not to be had, takes no
    room from the others.
    """
    if wanted > own and not view.offerings:
        return own
    if not memory.failures or wanted <= own:
        return wanted
    unproven = coming or (own if memory.broken else 0)
    return own if memory.retry_in_s > 0 or unproven else own + 1


# --- one pool ---------------------------------------------------------------------------------


def _asked(view: PoolView, terms: Terms, paused: bool, policy: Policy) -> tuple[int, Rule]:
    """How many launches its share allows and its work can use, before the cap's free room is looked at."""
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
        return 0, _limit(terms, policy)
    return max(0, terms.granted - terms.own), Rule.TRIAL if terms.failures else Rule.LAUNCH


def _plan(view: PoolView, terms: Terms, asked: tuple[int, Rule], free: int, room: int, policy: Policy) -> Decision:
    count, rule = asked
    launch = min(count, free)
    if count and not launch:
        rule = _limit(terms, policy)
    drain: tuple[str, ...] = ()
    if rule not in (Rule.UNREAD, Rule.PAUSED) and terms.own > terms.granted:
        drain, rule = _drains(view, terms, room, rule, policy)
    terminate = () if view.unread else tuple(worker.id for worker in view.workers if to_end(worker, policy))
    return Decision(view.pool, launch, drain, terminate, rule, terms)


def _limit(terms: Terms, policy: Policy) -> Rule:
    """What another instance would exceed: the budget, or else the cap."""
    purse = policy.budget_per_hour - terms.spend_per_hour
    return Rule.BUDGET if policy.max_workers and affordable(terms.price_per_hour, purse, policy) < 1 else Rule.CAP


def _drains(view: PoolView, terms: Terms, room: int, rule: Rule, policy: Policy) -> tuple[tuple[str, ...], Rule]:
    """Whom to drain of a pool that has more than its share: the idle, and of them the longest idle first.

    Where another pool waits for room, or a limit was lowered, at once, and busy ones too if the share is less than the
    work needs or more are there than the limit; else only as many as were never needed for as long as it pays to keep
    them (`policy.scale_in`). Which of them stood idle meanwhile says little: a queue hands its next message to whom
    it likes.
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
    leaving = tuple(worker.id for worker in idle[: min(surplus, ripe)])
    return leaving, Rule.SCALE_IN if leaving else Rule.LINGER


def _details(decision: Decision, view: PoolView, memory: PoolMemory, policy: Policy) -> Details:
    """What the decision's sentence names beside the terms."""
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


def to_end(worker: Worker, policy: Policy) -> bool:
    """Ended are only those that cannot be working any more, or had their time."""
    if worker.stage.coming or worker.stage.ready:
        return False
    if worker.stage.leaving:
        return worker.ours and worker.stage_s >= policy.drain_deadline_s
    if worker.stage is Stage.ORPHAN:
        return worker.ours and worker.stage_s >= policy.lost_after_s
    return worker.ours and worker.stage in (Stage.DRAINED, Stage.LOST, Stage.BOOT_FAILED)
