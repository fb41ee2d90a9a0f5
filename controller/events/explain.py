"""Lays the last decision of each pool out for a person, with every term that made it. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from core.fleet.roster import DecisionRecord

PAUSED = "The fleet is paused: no worker is launched or drained until `tagfleet controller resume`."


def explain(records: Sequence[DecisionRecord], now: float, *, paused: bool = False) -> str:
    """Several paragraphs of text; `now` is Unix time."""
    return "\n\n".join(([PAUSED] if paused else []) + [_decision(record, now) for record in records])


def _decision(record: DecisionRecord, now: float) -> str:
    reason = textwrap.fill(
        f"{record.reason}.", 110, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False
    )
    head = f"{record.pool}: {record.action}  ({_ago(now - record.at)})\n{reason}"
    try:
        rows = _rows(record.terms)
    except (KeyError, TypeError, ValueError, ZeroDivisionError):  # written by another version
        rows = [(name, str(value)) for name, value in record.terms.items()]
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join([head, "", *(f"  {name:{width}}  {text}" for name, text in rows)])


def _rows(t: Mapping[str, Any]) -> list[tuple[str, str]]:
    ready = t["idle"] + t["busy"]
    outstanding = t["visible"] + t["in_flight"] + t["delayed"]
    waits = f"{t['visible']} + {t['delayed']} + {t['orphaned']}"
    floor, foreseen = t.get("floor", 0), t.get("foreseen", 0.0)
    rate, speed, boot = t["arrival_rate"], t["throughput"], t["boot_s"]
    flow = rate / (t["utilisation"] * speed)
    backlog = t["backlog"] / (speed * t["drain_goal_s"])
    return [
        (
            "queue",
            f"V {t['visible']} visible, D {t['delayed']} delayed, F {t['in_flight']} in flight, "
            f"Fo {t['orphaned']} of them held by no live worker; {t['dead']} dead",
        ),
        (
            "workers",
            f"{t['requested']} requested, {t['booting']} booting, {t['idle']} idle, {t['busy']} busy, "
            f"{t['draining']} draining, {t['ending']} ending; {t['by_hand']} of them started by hand",
        ),
        ("learned", f"λ {rate:.2f} images/s arrive, μ {speed:.1f} images/s a worker, B {boot:.1f} s launch → ready"),
        ("settings", f"L {t['drain_goal_s']:g} s to clear a backlog, ρ {t['utilisation']:g} of μ for arrivals"),
        ("Q", f"{t['backlog']:.1f} images will still wait when a worker launched now is up"),
        ("", "= max(0, V + D + Fo + λ·B − μ·(ready·B + head start of the booting))"),
        ("", f"= max(0, {waits} + {rate:.2f}·{boot:.1f} − {speed:.1f}·({ready}·{boot:.1f} + {t['head_start_s']:.1f}))"),
        ("N*", f"{t['wanted']} wanted"),
        ("", "= ceil(λ/(ρ·μ) + Q/(μ·L)), at least the busy, at least 1 while anything waits or is in flight"),
        ("", f"= ceil({flow:.2f} + {backlog:.2f}), at least {t['busy']}, at least {min(1, outstanding)}"),
        ("ahead", f"at least {floor} by the schedule, at least ceil({foreseen:.2f}/(ρ·μ)) by yesterday's arrivals"),
        ("share", f"{t['needed']} needed of our own fleet now, {t['granted']} granted"),
        ("cap", f"{t['billable']} of {t['cap']} instances of all pools, leaving ones included{_by(t)}"),
        ("budget", _money(t.get("spend_per_hour", 0.0), t.get("budget_per_hour", 0.0), t.get("price_per_hour", 0.0))),
        ("scale-in", _lasting("target below the fleet", t["below_s"])),
        ("", f"kept are the {t['peak']} that were needed within the last {t['keep_s']:.1f} s"),
        ("starved", _lasting("a worker wanted and none there", t["starved_s"])),
        ("boots", _boots(t["failures"], t["retry_in_s"])),
        ("launches", f"{t.get('unanswered', 0)} asked for again and again without an answer"),
        ("rule", t["rule"]),
    ]


def _money(spend: float, budget: float, price: float) -> str:
    limit = f"of ${budget:,.2f}/h" if budget else "no budget is set"
    return f"${spend:,.2f}/h for the instances of all pools, {limit}; another one costs ${price:,.3f}/h"


def _by(terms: Mapping[str, Any]) -> str:
    return "; set by an operator" if terms.get("cap_source") == "operator" else ""


def _lasting(what: str, seconds: float | None) -> str:
    return "no" if seconds is None else f"{what} for {seconds:.1f} s"


def _boots(failures: int, retry_in_s: float) -> str:
    return f"{failures} failed in a row, next try in {retry_in_s:.1f} s" if failures else "none failed of late"


def _ago(seconds: float) -> str:
    if seconds < 120:
        return f"{max(0.0, seconds):.0f} s ago"
    return f"{seconds / 60:.0f} min ago" if seconds < 7200 else f"{seconds / 3600:.0f} h ago"
