from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from core.errors import Unavailable
from core.util.disk_errors import guarded, locked


def test_a_full_disk_is_told_in_a_sentence():
    with pytest.raises(Unavailable) as caught, guarded("write to", "/dev/full"):
        Path("/dev/full").write_bytes(b"x")
    assert str(caught.value) == "cannot write to /dev/full: the disk is full; free some space and try again"


def test_any_other_trouble_is_told_in_the_system_s_words():
    with pytest.raises(Unavailable, match="cannot open /x: Too many levels of symbolic links"), guarded("open", "/x"):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def test_errors_that_are_not_the_disk_s_pass_unchanged():
    with pytest.raises(KeyError), guarded("write to", "/x"):
        raise KeyError("x")


def test_a_lock_is_free_again_after_an_error(tmp_path):
    with pytest.raises(KeyError), locked(tmp_path / "lock"):
        raise KeyError("x")
    with locked(tmp_path / "lock"):
        pass


def test_a_lock_keeps_other_processes_out(tmp_path, python):
    script = """
import sys
from core.util.disk_errors import locked
for _ in range(300):
    with locked(sys.argv[1] + ".lock"):
        with open(sys.argv[1]) as file:
            number = int(file.read())
        with open(sys.argv[1], "w") as file:
            file.write(str(number + 1))
"""
    counter = tmp_path / "counter"
    counter.write_text("0")
    processes = [python(script, counter) for _ in range(3)]
    for process in processes:
        assert process.wait(120) == 0, process.stderr.read()
    assert counter.read_text() == "900"
