from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tagfleet.supervisor.child import Child
from tests.clock import Clock

SLEEPER = "import time; print('here', flush=True); time.sleep(60)"
WITH_A_CHILD = f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {SLEEPER!r}]).pid, flush=True)"


@pytest.fixture
def clock() -> Clock:
    return Clock(1000.0)


@pytest.fixture
def make(tmp_path, clock) -> Iterator[Callable[[str], Child]]:
    read, write = os.pipe()
    made: list[Child] = []

    def make(code: str) -> Child:
        child = Child(
            "web",
            [sys.executable, "-c", code],
            environ=os.environ,
            parent_fd=read,
            log=tmp_path / "logs" / "web.log",
            clock=clock,
        )
        made.append(child)
        return child

    yield make
    for child in made:
        child.kill()
        until(lambda child=child: not child.alive)
    os.close(read)
    os.close(write)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def log(child: Child) -> str:
    return child.log.path.read_text() if child.log.path.exists() else ""


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_it_runs_in_a_session_of_its_own_and_ends_when_asked(make):
    child = make(SLEEPER)
    child.start()
    assert child.pid
    assert os.getsid(child.pid) == child.pid
    assert child.tend() is None
    child.terminate()
    until(lambda: not child.alive)
    assert child.exit_code == -signal.SIGTERM


def test_what_it_started_dies_with_it(make):
    child = make(WITH_A_CHILD)
    child.start()
    until(lambda: not child.alive and log(child).endswith("\n"))
    until(lambda: gone(int(log(child))))


def test_a_dead_one_is_started_again_after_growing_pauses(make, clock, tmp_path):
    child = make("import sys; sys.exit('out of luck')")
    child.start()
    pauses = []
    for _ in range(7):
        until(lambda: not child.alive)
        said = child.tend()
        assert said
        assert said.startswith("web ended with exit code 1; it is started again in ")
        assert said.endswith(f" s. Its log ends: out of luck ({tmp_path}/logs/web.log)")
        pause = float(said.partition("again in ")[2].partition(" s")[0])
        pauses.append(pause)
        clock.now += pause - 0.01
        assert child.tend() is None
        assert child.pid is None
        clock.now += 0.02
        assert child.tend() is None
        assert child.pid
    assert pauses == [0.5, 1, 2, 4, 8, 10, 10]


def test_a_steady_one_is_forgiven(make, clock):
    child = make(SLEEPER)
    for _ in range(3):
        child.start()
        clock.now += 31
        child.kill()
        until(lambda: not child.alive)
        said = child.tend()
        assert said
        assert said.startswith("web was killed by SIGKILL; it is started again in 0.5 s.")


HUNGRY = "import resource as r; r.setrlimit(r.RLIMIT_AS, (1 << 28, 1 << 28)); bytearray(1 << 34)"


@pytest.mark.parametrize(
    ("code", "how", "why"),
    [
        (HUNGRY, "ended with exit code 1", "It ran out of memory: give this machine more memory, or run fewer workers"),
        ("import os; os.kill(os.getpid(), 9)", "was killed by SIGKILL", "Probably out of memory (the system's log"),
    ],
    ids=["MemoryError", "SIGKILL"],
)
def test_one_that_ends_for_lack_of_memory_says_so(make, code, how, why):
    child = make(code)
    child.start()
    until(lambda: not child.alive)
    said = child.tend()
    assert said is not None
    assert said.startswith(f"web {how}; it is started again in 0.5 s. {why}"), said


def test_what_an_earlier_process_ran_out_of_is_not_blamed_on_the_next(make):
    child = make("import sys; sys.exit('out of luck')")
    child.log.path.parent.mkdir()
    child.log.path.write_text("MemoryError\n")
    child.start()
    until(lambda: not child.alive)
    said = child.tend()
    assert said is not None
    assert "memory" not in said


def test_a_large_log_is_put_aside(make):
    child = make("print('new')")
    child.log.path.parent.mkdir()
    with child.log.path.open("wb") as file:
        file.truncate(11 * 1024 * 1024)
    child.start()
    until(lambda: not child.alive)
    assert log(child) == "new\n"
    assert child.log.path.with_name("web.log.1").stat().st_size == 11 * 1024 * 1024


def test_it_inherits_its_lifeline_and_no_other_file(make):
    child = make(
        "import os\nfor fd in range(3, os.sysconf('SC_OPEN_MAX')):\n"
        " try: print(os.readlink(f'/proc/self/fd/{fd}'))\n"
        " except OSError: pass"
    )
    child.start()
    until(lambda: not child.alive)
    [inherited] = log(child).splitlines()
    assert inherited.startswith("pipe:")


def test_a_log_that_cannot_be_made_stops_no_child(make, tmp_path):
    (tmp_path / "logs").write_text("a file where the folder of the logs should be")
    child = make(SLEEPER)
    child.start()
    assert child.alive
    told = child.tend()
    assert told
    assert told.startswith(f"what web logs is lost: {child.log.path} cannot be written")
    assert child.tend() is None


def test_a_child_whose_log_is_on_a_full_disk_lives(make):
    child = make("import time; time.sleep(60)")
    child.log.path.parent.mkdir(parents=True)
    child.log.path.symlink_to("/dev/full")
    child.start()
    assert child.alive
    assert child.tend() is None


def test_the_log_of_a_living_child_does_not_grow_for_ever(make):
    """It is halved in place: the child goes on writing to the same file."""
    child = make(
        "import time, sys\n"
        "line = 'x' * 1023 + '\\n'\n"
        "for _ in range(11 * 1024): sys.stdout.write(line)\n"
        "sys.stdout.flush(); sys.stdin.read()\n"
        "while True: print('later', flush=True); time.sleep(0.01)"
    )
    child.start()
    old = child.log.path.with_name("web.log.1")

    def halved() -> bool:
        child.tend()
        return old.exists() and "later" in log(child)

    until(halved)
    assert old.stat().st_size > 10 << 20
    assert child.log.path.stat().st_size < 1 << 20
    assert child.alive
