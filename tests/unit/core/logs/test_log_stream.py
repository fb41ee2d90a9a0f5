"""A log that cannot be written ends nothing, holds nothing up, and is counted."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.logs.log_stream import LogStream

SAYING = """
import logging, sys, threading, warnings
from core import telemetry
telemetry.configure("test", format=sys.argv[1])
log = telemetry.logger()
log.info("one", name="\\udcff", obj=object())
log.warning("two")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("three")
logging.getLogger("x").warning("four")
warnings.warn("five")
thread = threading.Thread(target=lambda: 1 / 0)
thread.start()
thread.join()
print("six", file=sys.stderr)
class Strange:
    def __repr__(self):
        raise RuntimeError("no")
log.info("seven", value=Strange())
sys.stdout.write(f"went on, {telemetry.lines_dropped()}")
"""


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    yield read, write
    for fd in (read, write):
        with suppress(OSError):
            os.close(fd)


def said(format: str, **streams: object) -> tuple[str, int, int]:
    """What a process printed after it had logged in all ways, how many lines it lost, and how it ended."""
    done = subprocess.run(
        [sys.executable, "-c", SAYING, format], stdout=subprocess.PIPE, text=True, check=False, **streams
    )
    text, _, lost = done.stdout.partition(", ")
    return text, int(lost or -1), done.returncode


@pytest.mark.parametrize("format", ["console", "json"])
class TestAProcessWhoseLog:
    def test_can_be_written_loses_none_but_the_unspeakable(self, format, tmp_path):
        with (tmp_path / "log").open("wb") as log:
            text, lost, code = said(format, stderr=log)
        assert (text, lost, code) == ("went on", 1, 0)
        written = (tmp_path / "log").read_text()
        for word in ("one", "two", "three", "four", "five", "six", "ZeroDivisionError"):
            assert word in written

    def test_is_on_a_full_disk(self, format):
        with Path("/dev/full").open("wb") as log:
            text, lost, code = said(format, stderr=log)
        assert (text, code) == ("went on", 0)
        assert lost > 7

    def test_has_lost_its_reader(self, format, pipe):
        os.close(pipe[0])
        text, lost, code = said(format, stderr=pipe[1])
        assert (text, code) == ("went on", 0)
        assert lost > 7

    def test_is_closed(self, format):
        text, lost, code = said(format, preexec_fn=lambda: os.close(2))
        assert (text, code) == ("went on", 0)
        assert lost > 7

    def test_may_grow_no_further(self, format, tmp_path):
        """By RLIMIT_FSIZE, as by a full disk, the last line is cut off."""
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))  # noqa: E731
        with (tmp_path / "log").open("wb") as log:
            text, lost, code = said(format, stderr=log, preexec_fn=limit)
        assert (text, code) == ("went on", 0)
        assert lost > 3

    def test_is_not_read(self, format, pipe):
        """A pipe that is full, and whose reader stands still."""
        os.set_blocking(pipe[1], False)
        with suppress(BlockingIOError):
            while True:
                os.write(pipe[1], bytes(4096))
        os.set_blocking(pipe[1], True)
        text, lost, code = said(format, stderr=pipe[1])
        assert (text, code) == ("went on", 0)
        assert lost > 7


def test_what_follows_a_cut_line_begins_a_new_one(tmp_path):
    path = tmp_path / "log"
    with path.open("wb", buffering=0) as file:
        stream = LogStream(file.fileno())
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
        try:
            stream.write("1234567890 this does not fit\n")
            stream.write("nor this\n")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        stream.write("later\n")
    assert path.read_text() == "1234567890\nlater\n"
    assert stream.dropped == 2


@given(st.lists(st.tuples(st.integers(0, 9000), st.booleans()), max_size=40))
def test_lines_of_a_slow_reader_are_whole_or_missing(writes):
    """Whatever is written, and whenever it is read: each line that arrives was written, in that order."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    try:
        stream = LogStream(write)
        stream._patience_s = 0.0
        arrived = b""
        lines = []
        for number, (length, reads) in enumerate(writes):
            lines.append(f"{number} ".ljust(length, "x"))
            stream.write(lines[-1] + "\n")
            if reads:
                arrived += everything(read)
        arrived += everything(read)
    finally:
        os.close(read)
        os.close(write)
    whole = [line for line in arrived.decode().split("\n") if line]
    kept = iter(lines)
    assert sum(line in lines for line in whole) == len(lines) - stream.dropped
    assert all(any(line == other for other in kept) for line in whole if line in lines)


def everything(fd: int) -> bytes:
    found = b""
    while True:
        try:
            found += os.read(fd, 1 << 16)
        except BlockingIOError:
            return found


def test_a_reader_that_comes_back_gets_lines_again(pipe):
    stream = LogStream(pipe[1])
    stream._patience_s = 0.0
    while not stream.dropped:
        stream.write("x" * 4000 + "\n")
    reader = threading.Thread(target=lambda: os.read(pipe[0], 1 << 20))
    reader.start()
    reader.join()
    before = stream.dropped
    stream.write("again\n")
    assert stream.dropped == before
    assert os.read(pipe[0], 100).endswith(b"again\n")


@pytest.mark.parametrize(
    ("redirect", "code"),
    [("2>&- status", 1), (">/dev/full version", 1), (">&- version", 0), ("2>/dev/full nonsense", 1)],
)
def test_commands_end_in_order(redirect, code, tmp_path):
    """One that cannot print says so where it can, in one line, and leaves no traceback."""
    to, _, command = redirect.rpartition(" ")
    tagfleet = Path(sys.executable).with_name("tagfleet")
    done = subprocess.run(
        ["/bin/sh", "-c", f"{tagfleet} {command} {to}"],
        env={**os.environ, "TAGFLEET_HOME": str(tmp_path / "none")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    if "/dev/full v" in redirect:
        assert done.stderr == "tagfleet: the output of this command could not be written: No space left on device\n"


@pytest.mark.parametrize("command", ["--help", "simulate --help", "status --help"])
def test_a_reader_that_has_seen_enough_is_no_error(command):
    tagfleet = Path(sys.executable).with_name("tagfleet")
    done = subprocess.run(
        ["/bin/sh", "-c", f"{tagfleet} {command} | true"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
