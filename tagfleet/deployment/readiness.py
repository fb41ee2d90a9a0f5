"""Check whether a host is ready: its units run, its web tier answers, and the load balancer sends it requests.

CloudFormation replaces hosts one by one and waits for a signal from each. If a new version does not start, the update
rolls back while the old hosts still serve.
"""

from __future__ import annotations

import subprocess
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence

from core.errors import TagfleetError

Check = Callable[[], str]
"""Returns what is not ready yet, or an empty string."""
UNITS = ("tagfleet-web", "tagfleet-collector", "tagfleet-controller")
_CHECKS_IN_A_ROW = 3
"""Successes in a row that count as ready: a unit that keeps crashing is active for a moment after each restart."""
_PAUSE_S = 5.0


def wait_until_ready(
    checks: Sequence[Check],
    deadline_s: float,
    *,
    pause: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> str:
    """Repeat the checks until all of them succeed several times in a row.

    Return an empty string if the host is ready, or what was wrong at the deadline, `deadline_s` seconds from now.
    """
    until, good, wrong = clock() + deadline_s, 0, "nothing was checked"
    while True:
        wrong = next((said for said in (check() for check in checks) if said), "")
        good = 0 if wrong else good + 1
        if good == _CHECKS_IN_A_ROW:
            return ""
        if clock() >= until:
            return wrong or "it was not ready for long enough"
        pause(_PAUSE_S)


def units_run(command: Sequence[str] = ("systemctl", "is-active")) -> str:
    """Check that systemd runs all units of a host. Passes if systemctl prints nothing (no D-Bus for this user)."""
    try:
        done = subprocess.run(  # noqa: S603  # systemd's own command
            [*command, *UNITS], capture_output=True, text=True, check=False, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"systemd does not answer: {error}"
    if not done.stdout.strip():
        return ""
    states: Mapping[str, str] = dict(zip(UNITS, done.stdout.split(), strict=False))
    return ", ".join(f"{unit} is {states.get(unit, 'unknown')}" for unit in UNITS if states.get(unit) != "active")


def answers(url: str) -> str:
    """Check that the web tier reports that it is healthy."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310  # our own address
            return "" if answer.status == 200 else f"{url} answers {answer.status}"
    except (OSError, ValueError) as error:
        return f"{url} does not answer: {error}"


def gets_requests(health: Callable[[], str]) -> str:
    """Check that the load balancer considers the host healthy. `health` asks it and raises TagfleetError."""
    try:
        state = health()
    except TagfleetError as error:
        return str(error)
    return "" if state == "healthy" else f"the load balancer says {state or 'nothing about this host'}"
