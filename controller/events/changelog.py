"""Lays the changelog of the fleet out for a person. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, tzinfo

from core.fleet.fleet_changes import FleetChange

_WIDTH = 110
_INDENT = " " * 21


def table(changes: Sequence[FleetChange], zone: tzinfo = UTC) -> str:
    """Two lines or more a change, in the order given: when, what and of which worker; then by whom, and why."""
    pool = max([4, *(len(change.pool) for change in changes)])
    head = f"{'time':<21}{'change':<16}{'pool':<{pool}}  worker, by whom and why"
    return "\n".join([head, *(line for change in changes for line in _lines(change, pool, zone))])


def by_whom(change: FleetChange) -> str:
    match change.by:
        case "controller":
            return " ".join(["the controller", *filter(None, (change.controller, change.decision))])
        case "operator":
            return "an operator"
        case "owner":
            return "the machine's owner"
        case "itself":
            return "itself"


def _lines(change: FleetChange, pool: int, zone: tzinfo) -> Iterator[str]:
    at = datetime.fromtimestamp(change.at, zone)
    what = change.kind.replace("_", " ")
    where = f", {change.offering}" if change.offering else ""
    yield f"{at:%Y-%m-%d %H:%M:%S}  {what:<16}{change.pool:<{pool}}  {change.worker_id}{where}"
    said = f"by {by_whom(change)}: {change.reason}"
    yield from textwrap.wrap(
        said, _WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT, break_on_hyphens=False, break_long_words=False
    )
