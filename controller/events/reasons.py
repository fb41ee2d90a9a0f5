"""The sentence that goes with each plan of a pool: what is so, and what follows."""

from __future__ import annotations

from controller.state.model import Policy, PoolMemory, PoolPlan, PoolView, Rule, Stage, Terms


def sentence(plan: PoolPlan, view: PoolView, memory: PoolMemory, policy: Policy) -> str:
    """One plain sentence without a full stop. `memory` knows why the last launch or boot failed."""
    said = f"{_because(plan, view, memory, policy)}: {_therefore(plan)}"
    ended = [f"{worker.id} ({_fault(worker.stage)})" for worker in view.workers if worker.id in plan.terminate]
    return f"{said}; end {', '.join(ended)}" if ended else said


def _because(plan: PoolPlan, view: PoolView, memory: PoolMemory, policy: Policy) -> str:
    match plan.rule:
        case Rule.UNREAD:
            return view.unread
        case Rule.PAUSED:
            workers = _workers(plan.terms) if plan.terms.supply else "no worker runs"
            return f"{_work(plan.terms)} and {workers}, but the fleet is paused"
        case Rule.REST:
            return (
                "nothing waits and the last workers leave"
                if plan.terms.draining
                else "nothing waits and no worker runs"
            )
        case Rule.ENOUGH:
            return _enough(plan.terms)
        case Rule.LAUNCH:
            return _launch(plan)
        case Rule.CAP:
            return _cap(plan.terms)
        case Rule.BUDGET:
            return _budget(plan.terms)
        case Rule.NO_CAPACITY:
            wish = f"{_work(plan.terms)} and {_count(plan.terms.wanted, 'worker')} wanted"
            return f"{wish}, but no offering has capacity now; each is asked again after a while"
        case Rule.TRIAL | Rule.BACK_OFF | Rule.BREAKER:
            return _failing(plan, memory)
        case _:
            return _too_many(plan, view, policy)


def _therefore(plan: PoolPlan) -> str:
    if plan.launch:
        return f"launch {plan.launch}"
    if plan.drain:
        return f"drain {len(plan.drain)}"
    match plan.rule:
        case Rule.UNREAD:
            return "nothing is changed"
        case Rule.PAUSED:
            return "nothing is launched or drained"
        case Rule.REST:
            return "rest"
        case Rule.ENOUGH if _waiting(plan.terms):
            return "wait"
        case Rule.TRIAL:
            return "wait for the trial"
        case _:
            return "hold"


def _enough(terms: Terms) -> str:
    waiting = _waiting(terms)
    if waiting:
        them = "it" if waiting == 1 else "them"
        seconds = waiting / (terms.throughput * terms.supply)
        return f"{_work(terms)}, {_workers(terms)} and will clear {them} in {_s(seconds)}"
    if terms.ahead and terms.wanted == terms.ahead:
        return f"{_work(terms)}, {_workers(terms)} and {_ahead(terms)}"
    if terms.outstanding or not terms.arrival_rate:
        return f"{_work(terms)} and {_workers(terms)}"
    return f"nothing waits, {_workers(terms)} and {terms.arrival_rate:.1f} images arrive a second"


def _launch(plan: PoolPlan) -> str:
    terms = plan.terms
    short = terms.wanted - terms.supply - plan.launch
    limit = f"; {_count(short, 'more')} wanted, beyond its share of the cap of {terms.cap}" if short > 0 else ""
    if terms.wanted == terms.ahead:
        workers = _workers(terms) if terms.supply else "no worker runs"
        return f"{_work(terms)}, {workers} and {_ahead(terms)}{limit}"
    if not terms.supply:
        return f"{_work(terms)} and no worker runs{limit}"
    seconds = _waiting(terms) / (terms.throughput * terms.supply)
    goal = f"would need {_s(seconds)}, the goal is {_s(terms.drain_goal_s)}"
    return f"{_work(terms)}, {_workers(terms)} and {goal}{limit}"


def _ahead(terms: Terms) -> str:
    if terms.floor == terms.ahead:
        return f"the schedule asks for {terms.floor}"
    return f"{terms.foreseen:.2f} images a second came at this time yesterday, which takes {terms.ahead}"


def _cap(terms: Terms) -> str:
    wish = f"{_work(terms)} and {_count(terms.wanted, 'worker')} wanted"
    if terms.granted > terms.own:
        others = (
            f"{_count(terms.billable, 'instance')} of all pools, leaving ones included, fill the cap of {terms.cap}"
        )
        return f"{wish}, but {others}"
    named = "max_workers =" if terms.cap_source == "settings" else "set by an operator to"
    return f"{wish}, but its share of the cap ({named} {terms.cap}) is {terms.granted}"


def _budget(terms: Terms) -> str:
    wish = f"{_work(terms)} and {_count(terms.wanted, 'worker')} wanted"
    spent = f"the budget of ${terms.budget_per_hour:,.2f}/h is reached"
    return f"{wish}, but {spent} (${terms.spend_per_hour:,.2f}/h, another ${terms.price_per_hour:,.3f}/h)"


def _failing(plan: PoolPlan, memory: PoolMemory) -> str:
    terms = plan.terms
    failed = "the last boot failed" if terms.failures == 1 else f"{terms.failures} boots in a row failed"
    if memory.broken:
        failed = "the last worker broke at work" if terms.failures == 1 else f"{terms.failures} workers in a row failed"
    look = f"see the worker's log, it said: {memory.notice}" if memory.notice else "see the worker's log"
    if memory.refused:
        failed, look = "the last launch was refused", memory.refused
    if plan.rule is Rule.TRIAL:
        return f"{_work(terms)} and {failed}, so workers are tried one by one ({look})"
    breaker = " and the circuit breaker is open" if plan.rule is Rule.BREAKER else ""
    return f"{_work(terms)}, but {failed}{breaker}, next try in {_s(terms.retry_in_s)} ({look})"


def _too_many(plan: PoolPlan, view: PoolView, policy: Policy) -> str:
    terms = plan.terms
    match plan.rule:
        case Rule.MAKE_ROOM if terms.billable > terms.cap:
            run = "runs" if terms.billable == 1 else "run"
            return f"{_count(terms.billable, 'instance')} {run} and the cap is {terms.cap}"
        case Rule.MAKE_ROOM if terms.over_budget:
            return f"${terms.spend_per_hour:,.2f}/h is spent and the budget is ${terms.budget_per_hour:,.2f}/h"
        case Rule.MAKE_ROOM:
            limit = f"the budget of ${terms.budget_per_hour:,.2f}/h" if terms.budget_per_hour else ""
            return f"another pool waits for room under {limit or f'the cap of {terms.cap}'}"
        case Rule.SETTLING:
            settled = f"{_s(terms.below_s or 0)} of {_s(policy.stabilisation_s)}"
            return f"{_work(terms)} and {_count(terms.own - terms.granted, 'worker')} too many for {settled}"
        case Rule.SCALE_IN:
            idle = min(worker.stage_s for worker in view.workers if worker.id in plan.drain)
            leaving = _count(len(plan.drain), "worker")
            if idle >= terms.keep_s:
                return f"{_work(terms)} and {leaving} idle for {_s(idle)}"
            return f"{_work(terms)} and {leaving} too many for {_s(terms.keep_s)}"
        case _:
            return _linger(view, terms)


def _linger(view: PoolView, terms: Terms) -> str:
    if not any(worker.ours and worker.stage is Stage.IDLE for worker in view.workers):
        return f"{_work(terms)} and {_workers(terms)}, too many, but none is idle"
    if terms.own <= terms.peak:
        return f"{_work(terms)} and {_workers(terms)}, {terms.peak} were needed within the last {_s(terms.keep_s)}"
    surplus = _count(terms.own - terms.granted, "worker")
    return f"{_work(terms)} and {surplus} too many for {_s(terms.below_s or 0)} of {_s(terms.keep_s)}"


def _work(terms: Terms) -> str:
    waiting = _waiting(terms)
    if waiting:
        return f"{_count(waiting, 'image')} {'waits' if waiting == 1 else 'wait'}"
    if terms.in_flight:
        return f"{_count(terms.in_flight, 'image')} {_are(terms.in_flight)} in work"
    return "nothing waits"


def _workers(terms: Terms) -> str:
    ready, coming = terms.ready, terms.coming
    if ready and coming:
        return f"{_count(ready, 'worker')} {_are(ready)} ready, {coming} {_are(coming)} booting"
    if coming:
        return f"{_count(coming, 'worker')} {_are(coming)} booting"
    return f"{_count(ready, 'worker')} {_are(ready)} ready"


def _fault(stage: Stage) -> str:
    return "its time to drain is over" if stage.leaving else stage.replace("_", " ")


def _waiting(terms: Terms) -> int:
    return terms.visible + terms.delayed + terms.orphaned


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 or word == 'more' else 's'}"


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _s(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:,.0f} s"
