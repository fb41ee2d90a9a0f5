"""The lifeline between a process and those that it starts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import core
from core.util import parent_watch

_CHILD = """
import os, signal, sys
from core.util import parent_watch
print(parent_watch.watch_parent(os.environ), parent_watch.VARIABLE in os.environ, flush=True)
signal.pause()
"""


@pytest.fixture
def child():
    """A process whose lifeline we hold; and our end of it."""
    read_end, write_end = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", _CHILD],
        cwd=Path(core.__file__).parents[1],
        env={**os.environ, parent_watch.VARIABLE: str(read_end)},
        pass_fds=(read_end,),
        stdout=subprocess.PIPE,
        text=True,
    )
    os.close(read_end)
    with os.fdopen(write_end, "wb", buffering=0) as ours:
        yield process, ours
    process.kill()
    process.communicate()


def test_a_process_ends_when_its_parent_does(child):
    process, ours = child
    assert process.stdout.readline() == "True False\n"
    ours.write(b"noise ends nothing")
    assert process.poll() is None
    ours.close()
    assert process.wait(120) == -signal.SIGTERM


def test_no_lifeline_is_no_error(tmp_path):
    with (tmp_path / "file").open("w") as file:
        for value in (
            {},
            *({parent_watch.VARIABLE: text} for text in ("", "x", "-1", "987654", "9" * 30, str(file.fileno()))),
        ):
            assert parent_watch.watch_parent(dict(value)) is False
