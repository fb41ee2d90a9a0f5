"""Measure a tick of the controller on AWS: seconds of work with a large fleet, cost of requests with a small one."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import click

from config import settings as config
from config.settings import Settings
from controller.loop import Controller, Ports
from core import telemetry
from core.aws.platform import AwsPlatform
from core.util.clock import Clock
from core.util.interpreter import module_command
from tagfleet.text_tables import Column, table_lines, terminal_width

MONTH_S = 30 * 24 * 3600
PRICES = {"s3.PutObject": 5e-6, "s3.ListObjectsV2": 5e-6, "s3.GetObject": 4e-7, "sqs": 4e-7, "ec2": 0.0}
"""Dollars per request in us-east-1, 2025: S3 Standard (PUT, LIST, GET) and SQS standard queues. EC2's API is free."""
AWS = {
    "backend": "aws",
    "log_level": "error",
    "aws.region": "us-east-1",
    "aws.input_bucket": "input",
    "aws.output_bucket": "output",
    "controller.tick_s": 5.0,
    "controller.poll_s": 5.0,
}


@contextmanager
def measured(workers: int) -> Iterator[Measured]:
    """Yield a controller over its own `bench.stub_cloud`, which runs in another process.

    Sets the environment variables that direct boto3 to it, and does not restore them.
    """
    command = module_command("bench.stub_cloud")
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        endpoint = f"http://127.0.0.1:{process.stdout.readline().strip()}"
        keys = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_EC2_METADATA_DISABLED": "true"}
        os.environ.update(keys | {"AWS_ENDPOINT_URL": endpoint})
        yield Measured(endpoint, workers)
    finally:
        process.communicate()


class Measured:
    """A controller on AWS's implementations of the ports. Each tick advances its clock by `controller.tick_s`."""

    def __init__(self, endpoint: str, workers: int) -> None:
        self._endpoint, self._workers = endpoint, workers
        full = {"controller.max_workers": max(1, workers)}  # full, so no launch: the stub has none
        self.settings: Settings = config.load({}, flags=AWS | full)
        self._parts = AwsPlatform(self.settings)
        self._fleet = self._parts.fleet([], 0.0)
        self._now = 0.0
        ports = Ports(self._parts.store(), self._fleet, {"resnet50": self._parts.queue("jobs-resnet50")})
        self._controller = Controller(ports, self.settings.controller, clock=Clock(lambda: self._now))

    def tick(self) -> tuple[float, float]:
        """Run one tick after a new heartbeat of every worker; return its processor seconds and its seconds."""
        urllib.request.urlopen(f"{self._endpoint}/beat?workers={self._workers}", b"").close()
        self._now += self.settings.controller.tick_s
        work, began = time.process_time(), time.monotonic()
        plan = self._controller.tick()
        assert plan is not None, "the controller could not act"
        return time.process_time() - work, time.monotonic() - began

    def requests(self) -> Counter[str]:
        """Return the number of requests so far by "service.Operation"."""
        return Counter(self._parts.clients.requests())


@click.command()
@click.option("--ticks", default=20, help="ticks for each size of the fleet")
def command(ticks: int) -> Iterator[str]:
    """Measure a tick on AWS: seconds of work with up to 1,000 instances, and a month's cost of its requests."""
    telemetry.configure("bench", level="error", format="console")
    yield f"a tick on AWS, one million messages, {ticks} ticks, every heartbeat changed since the tick before:"
    for workers in (10, 100, 1000):
        with measured(workers) as each:
            yield f"  {workers:5} instances  {_seconds(each, ticks)}"
    for workers in (0, 10):
        with measured(workers) as each:
            yield from _costs(each, workers, ticks)


def _seconds(each: Measured, ticks: int) -> str:
    first = each.tick()[0]
    times = [each.tick() for _ in range(ticks)]
    work, wall = ([time_[column] for time_ in times] for column in (0, 1))
    return (
        f"{statistics.median(work):.3f} s of work ({min(work):.3f}–{max(work):.3f}), the first {first:.3f} s; "
        f"{statistics.median(wall):.3f} s from begin to end"
    )


def _costs(each: Measured, workers: int, ticks: int) -> Iterator[str]:
    each.tick()
    before = each.requests()
    for _ in range(ticks):
        each.tick()
    counts = {name: count / ticks for name, count in (each.requests() - before).items()}
    tick_s = each.settings.controller.tick_s
    yield f"the control loop with {workers} workers, a tick every {tick_s:g} s, by the requests that were counted:"
    costs = [(name, count, _month(name, count, tick_s)) for name, count in sorted(counts.items())]
    costs.append(("together", sum(counts.values()), sum(dollars for _, _, dollars in costs)))
    columns = [Column("request"), Column("a tick", right=True), Column("$ a month", right=True)]
    rows = [(name, f"{count:.2f}", f"{dollars:.2f}") for name, count, dollars in costs]
    yield from table_lines(columns, rows, width=terminal_width(), indent=2)


def _month(name: str, count: float, tick_s: float) -> float:
    return _price(name, PRICES) * count * MONTH_S / tick_s


def _price(name: str, prices: Mapping[str, float]) -> float:
    return prices[name] if name in prices else prices.get(name.partition(".")[0], 0.0)
