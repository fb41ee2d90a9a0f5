"""The environment that sets a process's clock ahead, as `make chaos` uses it."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from bench.chaos.skew import ahead

_PROGRAM = """
import subprocess, sys, time
time.sleep(0.001)
print(time.time(), time.time_ns() / 1e9)
if len(sys.argv) == 1:
    subprocess.run([sys.executable, __file__, "child"], check=True)
"""


def test_a_process_and_what_it_starts_live_an_hour_ahead_and_can_sleep(tmp_path) -> None:
    program = tmp_path / "program.py"
    program.write_text(_PROGRAM)
    began = time.time()
    run = subprocess.run(
        [sys.executable, program], env=ahead(os.environ, 3600), stdout=subprocess.PIPE, text=True, check=True
    )
    said = [float(word) for word in run.stdout.split()]
    assert len(said) == 4
    assert all(began + 3600 <= at <= time.time() + 3600 for at in said)
