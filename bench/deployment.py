"""Run `tagfleet up` as real processes in a home folder of its own. Benchmarks and end-to-end tests share it."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from config import settings as config
from config.settings import Settings
from core.util.interpreter import module_command
from core.wiring import Backend

TAGFLEET = tuple(module_command("tagfleet"))

SHORT_TIMES = {
    "TAGFLEET_QUEUE__VISIBILITY_TIMEOUT_S": "3",
    "TAGFLEET_WORKER__HEARTBEAT_S": "0.3",
    "TAGFLEET_CONTROLLER__TICK_S": "0.3",
    "TAGFLEET_CONTROLLER__LEASE_S": "2",
    "TAGFLEET_CONTROLLER__LOST_AFTER_S": "3",
    "TAGFLEET_COLLECTOR__SWEEP_S": "1",
}
"""Short intervals, so that a killed process is noticed and replaced within seconds."""


def wait_until(condition: Callable[[], object], timeout_s: float = 180) -> None:
    """Poll `condition` every 20 ms until it is true. Raises TimeoutError after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the condition was not true after {timeout_s:g} s")
        time.sleep(0.02)


@dataclass(frozen=True)
class Process:
    """A process of a deployment."""

    pid: int
    parent: int
    role: str
    """The sub-command: up, web, collector, controller, prepare or worker."""

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal. Raises ProcessLookupError if the process has ended."""
        os.kill(self.pid, number)

    def cpu_seconds(self) -> float:
        """Return user and system time so far, 0 after the end of the process."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_bytes(self) -> int:
        """Return the resident memory, 0 after the end of the process."""
        try:
            pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        except (OSError, IndexError):
            return 0
        return pages * os.sysconf("SC_PAGE_SIZE")


class Deployment:
    """One home folder and its processes. The caller's own TAGFLEET_ variables do not reach them."""

    def __init__(self, home: Path, environ: Mapping[str, str]) -> None:
        self.home = home
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("TAGFLEET_")},
            "TAGFLEET_PORT": "0",
            **environ,
            "TAGFLEET_HOME": str(home),
            "PYTHONUNBUFFERED": "1",
        }
        self.up: subprocess.Popen[bytes] | None = None
        self._out = home.with_name(f"{home.name}.out")
        self._out.touch()

    @property
    def settings(self) -> Settings:
        ours = {name: value for name, value in self.environ.items() if name.startswith("TAGFLEET_")}
        return config.load(ours)

    @property
    def backend(self) -> Backend:
        return Backend(self.settings)

    @property
    def said(self) -> str:
        """The output so far of the `up` that was started last."""
        return self._out.read_text()

    @property
    def url(self) -> str:
        found = re.search(r"Tagfleet is at (http://\S+)", self.said)
        return found.group(1) if found else ""

    def start(self) -> None:
        """Run `up` and wait until its URL is known and its controller runs. Raises RuntimeError if `up` ends before."""
        with self._out.open("wb") as out:
            self.up = up = subprocess.Popen(
                [*TAGFLEET, "up"], env=self.environ, stdout=out, stderr=out, stdin=subprocess.DEVNULL
            )
        wait_until(lambda: (self.url and self.find("controller")) or up.poll() is not None, 300)
        if up.poll() is not None:
            raise RuntimeError(self.said)
        self.environ["TAGFLEET_PORT"] = self.url.rpartition(":")[2]  # a restart keeps the address

    def stop(self, number: signal.Signals = signal.SIGINT, *, within_s: float = 180) -> int:
        """Signal `up` to end and return its exit code. Raises subprocess.TimeoutExpired after `within_s`."""
        assert self.up
        self.up.send_signal(number)
        return self.up.wait(within_s)

    def processes(self) -> list[Process]:
        """Return every living process whose environment names this home."""
        mark = f"TAGFLEET_HOME={self.home}".encode()
        found = []
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                if mark not in (folder / "environ").read_bytes().split(b"\0"):  # a zombie has none
                    continue
                command = (folder / "cmdline").read_bytes().split(b"\0")
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            roles = [word.decode() for before, word in itertools.pairwise(command) if before == b"tagfleet"]
            found.append(Process(int(folder.name), parent, roles[0] if roles else "?"))
        return found

    def find(self, role: str) -> list[Process]:
        """Return the processes of one role."""
        return [process for process in self.processes() if process.role == role]

    def kill_everything(self) -> None:
        """Kill every process of this home, including any that appear meanwhile."""

        def none_left() -> bool:
            found = self.processes()
            for process in found:
                process.kill()
            return not found

        wait_until(none_left)
        if self.up:
            self.up.wait()
