"""The orders of operators, checked: drain a worker, set the cap. The command line and the API share them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from core.fleet.roster import Roster

MOST_WORKERS = 10_000
"""A higher cap is refused as a typing error."""
_NAMED = 20

Source = Literal["settings", "operator"]


class InvalidOrder(ValueError):
    """The order makes no sense; the text says why."""


class NoSuchWorker(LookupError):
    """No such worker is alive; the text names the live workers."""


def request_drain(roster: Roster, worker_id: str, alive: Collection[str]) -> None:
    """Ask the worker to finish what it holds and end. Raises NoSuchWorker unless it is in `alive`."""
    if worker_id not in alive:
        named = sorted(alive)[:_NAMED]
        more = f" and {len(alive) - len(named)} more" if len(alive) > len(named) else ""
        known = f"there are {', '.join(named)}{more}" if named else "no worker runs"
        raise NoSuchWorker(f"there is no live worker {worker_id[:80]!r}; {known}")
    roster.request_drain(worker_id)


def set_max_workers(roster: Roster, max_workers: int | None) -> None:
    """Set the cap that replaces `controller.max_workers`; None removes it. Raises InvalidOrder."""
    if max_workers is not None and not 0 <= max_workers <= MOST_WORKERS:
        raise InvalidOrder(f"a cap is 0 (no worker at all) to {MOST_WORKERS:,} workers, not {max_workers}")
    roster.set_cap(max_workers)


def get_cap(roster: Roster, settings: int) -> tuple[int, Source]:
    """Return the cap in force, and who set it. `settings` is `controller.max_workers`."""
    override = roster.cap()
    return (settings, "settings") if override is None else (override, "operator")


def describe_cap(roster: Roster, settings: int) -> str:
    """Return a sentence about the cap for people at a terminal."""
    cap, source = get_cap(roster, settings)
    workers = f"at most {cap} {'worker' if cap == 1 else 'workers'}"
    if source == "settings":
        return f"{workers}, as controller.max_workers says"
    return f"{workers}, set by an operator; `tagfleet controller cap default` goes back to {settings}"
