"""Compare one web process with several: GETs of a batch over 64 kept connections, by turns in one run."""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import click

from bench import catalogs
from bench.asking import asking
from bench.deployment import TAGFLEET, Process, wait_until
from bench.fleet import format_spread
from core.domain.ids import new_id


@dataclass
class Web:
    """A running web tier, and what was measured of it."""

    arbiter: subprocess.Popen[bytes]
    url: str
    rates: list[float] = field(default_factory=list)
    per_request_ms: list[float] = field(default_factory=list)
    asking: list[float] = field(default_factory=list)
    """Cores that asking took."""
    machine: list[float] = field(default_factory=list)
    """Cores that were busy, with whatever."""

    @property
    def processes(self) -> list[Process]:
        """The processes that answer."""
        pid = self.arbiter.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [Process(int(child), pid, "web") for child in children]

    def cpu_seconds(self) -> float:
        """Return the processor time so far of all that answer."""
        return sum(process.cpu_seconds() for process in self.processes)


@contextmanager
def serving(home: Path, processes: int, extra: Mapping[str, str]) -> Iterator[Web]:
    """Run a web tier of `processes` processes."""
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("TAGFLEET_")},
        "TAGFLEET_HOME": str(home),
        "TAGFLEET_PORT": "0",
        "TAGFLEET_WEB__PROCESSES": str(processes),
        **extra,
    }
    address = home / "web.address"
    arbiter = subprocess.Popen([*TAGFLEET, "web"], env=environ, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: address.exists() or arbiter.poll() is not None)
        web = Web(arbiter, address.read_text().strip())
        wait_until(lambda: len(web.processes) == processes)
        yield web
    finally:
        arbiter.terminate()
        arbiter.wait(60)


def report(scratch: Path, counts: list[int], place: str, *, clients: int, seconds: float, rounds: int) -> Iterator[str]:
    """Yield lines on web tiers with `counts` processes, asked by turns. `place` is a PostgreSQL URL, or empty."""
    batch_id = new_id("bat", time.time())
    path = f"/api/v1/batches/{batch_id}"
    extra = {"TAGFLEET_WEB__CATALOG_URL": place} if place else {}
    with ExitStack() as stack:
        webs: dict[int, Web] = {}
        for count in counts:
            home = scratch / str(count)
            home.mkdir()
            with catalogs.opened(place, home) as (_, database):
                if not place or not webs:
                    catalogs.fill(database, batch_id, 100)
            webs[count] = stack.enter_context(serving(home, count, extra))
        for number in range(rounds + 1):  # the first warms up
            for web in webs.values():
                _measure(web, path, clients, seconds, kept=number > 0)
        yield (
            f"{'PostgreSQL' if place else 'SQLite'}, GETs of a batch over {clients} connections, by turns, "
            f"{rounds} rounds of {seconds:g} s on {len(os.sched_getaffinity(0))} cores:"
        )
        for count, web in webs.items():
            yield from _lines(count, web)
        first, *others = webs.items()
        for count, web in others:
            ratios = [mine / other for mine, other in zip(web.rates, first[1].rates, strict=True)]
            yield f"  {count} processes answer {format_spread(ratios, 'times')} as many as {first[0]}"


def _measure(web: Web, path: str, clients: int, seconds: float, *, kept: bool) -> None:
    with asking(web.url, path, clients) as asker:
        cpu, busy = web.cpu_seconds(), _busy_seconds()
        asked = asker.ask(seconds)
        cpu, busy = web.cpu_seconds() - cpu, _busy_seconds() - busy
    if kept:
        web.rates.append(asked.rate)
        web.per_request_ms.append(1000 * cpu / asked.answers)
        web.asking.append(asked.own_cpu_s / asked.seconds)
        web.machine.append(busy / asked.seconds)


def _lines(count: int, web: Web) -> Iterator[str]:
    yield f"  {count} process{'es' if count > 1 else ''}: {format_spread(web.rates, 'answers/s', 0)}"
    per_core = [1000 / each for each in web.per_request_ms]
    yield f"    {format_spread(per_core, 'answers per second of processor time', 0)}"
    busy, asking_took = statistics.median(web.machine), statistics.median(web.asking)
    yield f"    busy cores: {busy:.2f}, of which asking took {asking_took:.2f}"


def _busy_seconds() -> float:
    """Return the processor time that this machine has spent, on anything."""
    user, nice, system, _idle, _iowait, irq, softirq, *_ = map(
        int, re.findall(r"\d+", Path("/proc/stat").read_text().partition("\n")[0])[:8]
    )
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


@click.command()
@click.option("--processes", "counts", default="1,2", show_default=True, help="numbers of processes, the base first")
@click.option("--connections", default=64, show_default=True)
@click.option("--seconds", default=5.0, show_default=True, help="of each round")
@click.option("--rounds", default=5, show_default=True)
@click.option("--database", default="", help="URL of an empty PostgreSQL database  [default: SQLite files]")
def command(counts: str, connections: int, seconds: float, rounds: int, database: str) -> Iterator[str]:
    """Compare web tiers of one and of several processes by GETs of a batch, by turns."""
    with tempfile.TemporaryDirectory(prefix="tagfleet-bench-") as scratch:
        numbers = [int(count) for count in counts.split(",")]
        yield from report(Path(scratch), numbers, database, clients=connections, seconds=seconds, rounds=rounds)
