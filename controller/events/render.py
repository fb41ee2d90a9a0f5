"""Put decisions and events into words. Pure.

- `sentence` says why a decision was made and what follows, from its rule, terms and details. The log, the page and the
  command line show it.
- `explain` shows the last decision of each pool with every term, on a terminal. The terms describe themselves
  (`core.fleet.terms.Term`); only the lines with the formula are written here.
- `event_table` shows the fleet's events on a terminal.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from itertools import zip_longest

from core.fleet.decisions import Decision, DecisionRecord, Rule
from core.fleet.events import FleetEvent
from core.fleet.terms import Row, Terms

PAUSED = "The fleet is paused: no worker is launched or drained until `tagfleet controller resume`."
_WIDTH = 110
_INDENT = " " * 21

# --- the sentence of a decision ---------------------------------------------------------------


def sentence(decision: Decision) -> str:
    """Return one sentence without a full stop: first the finding, then the action."""
    said = f"{_because(decision)}: {_therefore(decision)}"
    stages = zip_longest(decision.terminate, decision.details.ended, fillvalue="")
    ended = [f"{id_} ({_fault(stage)})" if stage else id_ for id_, stage in stages]
    return f"{said}; end {', '.join(ended)}" if ended else said


def _because(decision: Decision) -> str:
    return decision.details.because or _CLAUSES[decision.rule](decision)


def _therefore(decision: Decision) -> str:
    if decision.launch:
        return f"launch {decision.launch}"
    if decision.drain:
        return f"drain {len(decision.drain)}"
    match decision.rule:
        case Rule.UNREAD:
            return "nothing is changed"
        case Rule.PAUSED:
            return "nothing is launched or drained"
        case Rule.REST:
            return "rest"
        case Rule.ENOUGH if decision.terms.waiting:
            return "wait"
        case Rule.TRIAL:
            return "wait for the trial"
        case _:
            return "hold"


def _unread(_: Decision) -> str:
    return "a reading failed"


def _paused(decision: Decision) -> str:
    return f"{_work(decision.terms)} and {_workers_or_none(decision.terms)}, but the fleet is paused"


def _rest(decision: Decision) -> str:
    return f"nothing waits and {'the last workers leave' if decision.terms.draining else 'no worker runs'}"


def _enough(decision: Decision) -> str:
    terms = decision.terms
    if terms.waiting:
        them = "it" if terms.waiting == 1 else "them"
        seconds = terms.waiting / (terms.throughput * terms.supply)
        return f"{_work(terms)}, {_workers(terms)} and will clear {them} in {_s(seconds)}"
    if terms.ahead and terms.wanted == terms.ahead:
        return f"{_work(terms)}, {_workers(terms)} and {_ahead(terms)}"
    if terms.outstanding or not terms.arrival_rate:
        return f"{_work(terms)} and {_workers(terms)}"
    return f"nothing waits, {_workers(terms)} and {terms.arrival_rate:.1f} images arrive a second"


def _launch(decision: Decision) -> str:
    terms = decision.terms
    short = terms.wanted - terms.supply - decision.launch
    limit = f"; {short:,} more wanted, beyond its share of the cap of {terms.cap}" if short > 0 else ""
    if terms.wanted == terms.ahead:
        return f"{_work(terms)}, {_workers_or_none(terms)} and {_ahead(terms)}{limit}"
    if not terms.supply:
        return f"{_work(terms)} and no worker runs{limit}"
    seconds = terms.waiting / (terms.throughput * terms.supply)
    goal = f"would need {_s(seconds)}, the goal is {_s(terms.drain_goal_s)}"
    return f"{_work(terms)}, {_workers(terms)} and {goal}{limit}"


def _cap(decision: Decision) -> str:
    terms = decision.terms
    if terms.granted > terms.own:
        filled = f"{_count(terms.billable, 'instance')} of all pools, leaving ones included"
        return f"{_wish(terms)}, but {filled}, fill the cap of {terms.cap}"
    source = "max_workers =" if terms.cap_source == "settings" else "set by an operator to"
    return f"{_wish(terms)}, but its share of the cap ({source} {terms.cap}) is {terms.granted}"


def _budget(decision: Decision) -> str:
    terms = decision.terms
    spent = f"${terms.spend_per_hour:,.2f}/h, another ${terms.price_per_hour:,.3f}/h"
    return f"{_wish(terms)}, but the budget of ${terms.budget_per_hour:,.2f}/h is reached ({spent})"


def _no_capacity(decision: Decision) -> str:
    return f"{_wish(decision.terms)}, but no offering has capacity now; each is asked again after a while"


def _failing(decision: Decision) -> str:
    terms, details = decision.terms, decision.details
    failed = "the last boot failed" if terms.failures == 1 else f"{terms.failures} boots in a row failed"
    if details.broken:
        failed = "the last worker broke at work" if terms.failures == 1 else f"{terms.failures} workers in a row failed"
    see = f"see the worker's log, it said: {details.notice}" if details.notice else "see the worker's log"
    if details.refused:
        failed, see = "the last launch was refused", details.refused
    if decision.rule is Rule.TRIAL:
        return f"{_work(terms)} and {failed}, so workers are tried one by one ({see})"
    breaker = " and the circuit breaker is open" if decision.rule is Rule.BREAKER else ""
    return f"{_work(terms)}, but {failed}{breaker}, next try in {_s(terms.retry_in_s)} ({see})"


def _make_room(decision: Decision) -> str:
    terms = decision.terms
    if terms.billable > terms.cap:
        run = "runs" if terms.billable == 1 else "run"
        return f"{_count(terms.billable, 'instance')} {run} and the cap is {terms.cap}"
    budget = f"${terms.budget_per_hour:,.2f}/h"
    if terms.over_budget:
        return f"${terms.spend_per_hour:,.2f}/h is spent and the budget is {budget}"
    limit = f"the budget of {budget}" if terms.budget_per_hour else f"the cap of {terms.cap}"
    return f"another pool waits for room under {limit}"


def _settling(decision: Decision) -> str:
    terms = decision.terms
    return f"{_work(terms)} and {_surplus(terms)} for {_s(terms.below_s or 0)} of {_s(decision.details.settle_s)}"


def _scale_in(decision: Decision) -> str:
    terms, idle_s = decision.terms, decision.details.idle_s
    leaving = _count(len(decision.drain), "worker")
    if idle_s >= terms.keep_s:
        return f"{_work(terms)} and {leaving} idle for {_s(idle_s)}"
    return f"{_work(terms)} and {leaving} too many for {_s(terms.keep_s)}"


def _linger(decision: Decision) -> str:
    terms = decision.terms
    if not decision.details.any_idle:
        return f"{_work(terms)} and {_workers(terms)}, too many, but none is idle"
    if terms.own <= terms.peak:
        needed = f"{terms.peak} {'was' if terms.peak == 1 else 'were'} needed within the last {_s(terms.keep_s)}"
        return f"{_work(terms)} and {_workers(terms)}, {needed}"
    return f"{_work(terms)} and {_surplus(terms)} for {_s(terms.below_s or 0)} of {_s(terms.keep_s)}"


_CLAUSES: Mapping[Rule, Callable[[Decision], str]] = {
    Rule.UNREAD: _unread,
    Rule.PAUSED: _paused,
    Rule.REST: _rest,
    Rule.ENOUGH: _enough,
    Rule.LAUNCH: _launch,
    Rule.TRIAL: _failing,
    Rule.CAP: _cap,
    Rule.BUDGET: _budget,
    Rule.NO_CAPACITY: _no_capacity,
    Rule.BACK_OFF: _failing,
    Rule.BREAKER: _failing,
    Rule.SETTLING: _settling,
    Rule.LINGER: _linger,
    Rule.SCALE_IN: _scale_in,
    Rule.MAKE_ROOM: _make_room,
}
"""The first half of the sentence, by rule."""


def _wish(terms: Terms) -> str:
    return f"{_work(terms)} and {_count(terms.wanted, 'worker')} wanted"


def _surplus(terms: Terms) -> str:
    return f"{_count(terms.own - terms.granted, 'worker')} too many"


def _ahead(terms: Terms) -> str:
    if terms.floor == terms.ahead:
        return f"the schedule asks for {terms.floor}"
    return f"{terms.foreseen:.2f} images a second came at this time yesterday, which takes {terms.ahead}"


def _work(terms: Terms) -> str:
    if terms.waiting:
        return f"{_count(terms.waiting, 'image')} {'waits' if terms.waiting == 1 else 'wait'}"
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


def _workers_or_none(terms: Terms) -> str:
    return _workers(terms) if terms.supply else "no worker runs"


def _fault(stage: str) -> str:
    return "its time to drain is over" if stage in ("draining", "interrupted") else stage.replace("_", " ")


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _s(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:,.0f} s"


# --- the last decision of each pool -----------------------------------------------------------


def explain(records: Sequence[DecisionRecord], now: float, *, paused: bool = False) -> str:
    """Describe each decision in a paragraph: sentence, then terms. `now` is Unix time."""
    return "\n\n".join(([PAUSED] if paused else []) + [_explain(record, now) for record in records])


def _explain(record: DecisionRecord, now: float) -> str:
    reason = textwrap.fill(
        f"{record.reason}.", _WIDTH, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False
    )
    terms = Terms.load(record.terms)
    if terms is None:  # written by another version
        rows = [(name, str(value)) for name, value in record.terms.items()]
    else:
        newer = record.terms.keys() - terms.described().keys() - {"rule"}
        rows = [*term_rows(terms), *((name, str(record.terms[name])) for name in sorted(newer))]
        rows.append(("rule", str(record.terms.get("rule", ""))))
    width = max((len(name) for name, _ in rows), default=0)
    lines = [f"{record.pool}: {record.action}  ({_ago(now - record.at)})", reason, ""]
    for name, text in rows:
        first, *more = textwrap.wrap(text, _WIDTH - width, break_on_hyphens=False) or [""]
        lines += [f"  {name:{width}}  {first}", *(f"  {'':{width}}  {line}" for line in more)]
    return "\n".join(line.rstrip() for line in lines)


def term_rows(terms: Terms) -> list[tuple[str, str]]:
    """Return rows of a heading and a text that describe the terms. Formulas follow in rows without a heading."""
    shown: dict[Row, list[str]] = {row: [] for row in Row}
    for _, term, value in terms.items():
        if text := term.describe(value):
            shown[term.row].append(text)
    formulas = {Row.BACKLOG: _backlog_formula(terms), Row.WANTED: _wanted_formula(terms)}
    rows = []
    for row, texts in shown.items():
        rows.append((str(row), ", ".join(texts)))
        rows += [("", f"= {line}") for line in formulas.get(row, ())]
    return rows


def _backlog_formula(t: Terms) -> tuple[str, str]:
    waits, ready = f"{t.visible} + {t.delayed} + {t.orphaned}", f"{t.ready}·{t.boot_s:.1f}"
    return (
        "max(0, V + D + Fo + λ·B − μ·(ready·B + head start of the booting))",
        f"max(0, {waits} + {t.arrival_rate:.2f}·{t.boot_s:.1f} − {t.throughput:.1f}·({ready} + {t.head_start_s:.1f}))",
    )


def _wanted_formula(t: Terms) -> tuple[str, str]:
    flow = t.arrival_rate / (t.utilisation * t.throughput)
    backlog = t.backlog / (t.throughput * t.drain_goal_s)
    least = f"at least {t.busy}, at least {min(1, t.outstanding)}, at least {t.ahead}"
    return (
        "ceil(λ/(ρ·μ) + Q/(μ·L)), at least the busy, 1 while there is work, and what is ahead",
        f"ceil({flow:.2f} + {backlog:.2f}), {least}",
    )


def _ago(seconds: float) -> str:
    if seconds < 120:
        return f"{max(0.0, seconds):.0f} s ago"
    return f"{seconds / 60:.0f} min ago" if seconds < 7200 else f"{seconds / 3600:.0f} h ago"


# --- the events of the fleet ------------------------------------------------------------------


def event_table(events: Sequence[FleetEvent], zone: tzinfo = UTC) -> str:
    """Describe each event in two or more lines: time, event, pool and worker, then actor and reason."""
    pool = max([4, *(len(event.pool) for event in events)])
    head = f"{'time':<21}{'event':<16}{'pool':<{pool}}  worker, by whom and why"
    return "\n".join([head, *(line for event in events for line in _event_lines(event, pool, zone))])


def _event_lines(event: FleetEvent, pool: int, zone: tzinfo) -> Iterator[str]:
    at = datetime.fromtimestamp(event.at, zone)
    where = f", {event.offering}" if event.offering else ""
    yield f"{at:%Y-%m-%d %H:%M:%S}  {event.title:<16}{event.pool:<{pool}}  {event.worker_id}{where}"
    yield from textwrap.wrap(
        f"by {event.actor}: {event.reason}",
        _WIDTH,
        initial_indent=_INDENT,
        subsequent_indent=_INDENT,
        break_on_hyphens=False,
        break_long_words=False,
    )
