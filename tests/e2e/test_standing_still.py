"""`up` restarts a process that hangs."""

from __future__ import annotations

import signal
from contextlib import suppress

import pytest

from bench.deployment import wait_until

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("role", ["collector", "controller"])
def test_a_part_that_is_stopped_is_replaced(deploy, until, role):
    deployment = deploy(TAGFLEET_STALLED_S="3")
    before = deployment.child(role)
    until(lambda: any(one.role == role for one in deployment.backend.roster.roles()))
    before.kill(signal.SIGSTOP)
    until(lambda: f"{role} has given no sign of life for" in deployment.said)

    def replaced() -> bool:
        with suppress(ValueError):  # there is none for a moment
            return deployment.child(role).pid != before.pid
        return False

    until(replaced)
    assert deployment.stop() == 0


def test_all_that_stand_still_together_are_let_be(deploy, until):
    """After the machine slept, every process resumes, `up` included, and none is restarted."""
    deployment = deploy(TAGFLEET_STALLED_S="3")
    until(lambda: len(deployment.backend.roster.roles()) == 2)
    processes = deployment.processes()
    seqs = {one.role: one.seq for one in deployment.backend.roster.roles()}
    ours = [one for one in processes if one.role in ("collector", "controller")]
    up = next(one for one in processes if one.role == "up")
    for process in (up, *ours):
        process.kill(signal.SIGSTOP)
    with pytest.raises(TimeoutError):  # several times stalled_s
        wait_until(lambda: False, 8)
    for process in (*ours, up):
        process.kill(signal.SIGCONT)
    until(lambda: all(one.seq > seqs[one.role] + 3 for one in deployment.backend.roster.roles()))
    assert "no sign of life" not in deployment.said
    assert {one.pid for one in ours} <= {one.pid for one in deployment.processes()}
    assert deployment.stop() == 0
