"""Whether a host serves: its units run, its web tier answers, and the load balancer sends it requests.

CloudFormation replaces hosts one after the other and waits for each one's word, so that a version that does not start
is taken back while the hosts before it still serve.
"""

from __future__ import annotations

import subprocess
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence

from core.errors import TagfleetError

Check = Callable[[], str]
"""Returns what is not as it should be yet; empty where all is."""
UNITS = ("tagfleet-web", "tagfleet-collector", "tagfleet-controller")
_LOOKS = 3
"""In a row: a unit that ends at once, and is started again, is active for a moment too."""
_LOOK_S = 5.0


def wait_until_ready(
    checks: Sequence[Check],
    deadline_s: float,
    *,
    pause: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> str:
    """Look until every check has found nothing wrong several times in a row; return what was wrong at the deadline.

    Empty where the host is ready.
    """
    until, good, wrong = clock() + deadline_s, 0, "nothing was looked at"
    while True:
        wrong = next((said for said in (check() for check in checks) if said), "")
        good = 0 if wrong else good + 1
        if good == _LOOKS:
            return ""
        if clock() >= until:
            return wrong or "it was not ready for long enough"
        pause(_LOOK_S)


def units_run(command: Sequence[str] = ("systemctl", "is-active")) -> str:
    """Check that systemd has all parts of a host running. Where it tells users nothing (no D-Bus), they pass."""
    try:
        told = subprocess.run(  # noqa: S603  # systemd's own command
            [*command, *UNITS], capture_output=True, text=True, check=False, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"systemd does not answer: {error}"
    if not told.stdout.strip():
        return ""
    states: Mapping[str, str] = dict(zip(UNITS, told.stdout.split(), strict=False))
    return ", ".join(f"{unit} is {states.get(unit, 'unknown')}" for unit in UNITS if states.get(unit) != "active")


def answers(url: str) -> str:
    """Check that the web tier says it is healthy."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310  # our own address
            return "" if answer.status == 200 else f"{url} answers {answer.status}"
    except (OSError, ValueError) as error:
        return f"{url} does not answer: {error}"


def gets_requests(health: Callable[[], str]) -> str:
    """Check that the load balancer takes the host for healthy. `health` asks it, and raises TagfleetError."""
    try:
        state = health()
    except TagfleetError as error:
        return str(error)
    return "" if state == "healthy" else f"the load balancer says {state or 'nothing of this host'}"
