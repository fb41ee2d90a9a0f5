"""Events and decisions give the cause when a worker runs out of memory as it starts."""

from __future__ import annotations

from io import BytesIO

import pytest

from tagfleet.client import Client, Patience

pytestmark = pytest.mark.e2e

_ENDS = """
import os, sys
if "worker" in sys.orig_argv:
    {how}
"""


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("os.kill(os.getpid(), 9)", "killed by SIGKILL; probably out of memory"),
        ("raise SystemExit('MemoryError: std::bad_alloc')", "ended with exit code 1; it ran out of memory"),
    ],
    ids=["killed", "bad_alloc"],
)
def test_a_boot_that_memory_ended_says_so(deploy, tmp_path, until, make_photos, how, told):
    (tmp_path / "sitecustomize.py").write_text(_ENDS.format(how=how))
    deployment = deploy(PYTHONPATH=str(tmp_path))
    with Client(deployment.url, patience=Patience(total_s=180.0)) as client:
        batch = client.create_batch()
        client.upload(batch, [(name, BytesIO(content)) for name, content in make_photos(1)])
        roster = deployment.backend.roster
        until(lambda: any(change.kind == "boot_failed" for change in roster.events()))
        failed = [change for change in roster.events() if change.kind == "boot_failed"]
        assert {change.reason.partition(": ")[2][: len(told)] for change in failed} == {told}
        until(lambda: any(told in decision.reason for decision in roster.decisions()))
        explained = deployment.run("controller", "explain")
        assert told in " ".join(explained.communicate(timeout=180)[0].split()), "its lines are filled"
