"""Measure the processor time of a get and a put on S3, by boto3 alone and by `S3Store`."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import click

from bench.small_cloud.process import small_cloud
from core.aws.clients import Clients
from core.aws.store import S3Store

_BUCKET = "out"
_PHOTO = 80_000
_RESULT = 700


def _measure(do: Callable[[int], object], count: int, threads: int) -> tuple[float, float]:
    """Return the requests a second, and the milliseconds of this process's processor for each."""
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(do, range(2 * threads)))
        started, cpu = time.perf_counter(), time.process_time()
        list(pool.map(do, range(count)))
        return count / (time.perf_counter() - started), 1000 * (time.process_time() - cpu) / count


@click.command()
@click.option("--count", default=2000, help="requests a round")
@click.option("--rounds", default=5)
@click.option("--latency-ms", default=0.0, help="time of an answer; in a region S3 takes 20 to 50")
@click.option("--threads", default=32, help="requests at once")
def command(count: int, rounds: int, latency_ms: float, threads: int) -> Iterator[str]:
    """Compare boto3 with obstore: gets of 80 kB and puts of 0.7 kB, in memory on loopback, in turn."""
    photo, result = os.urandom(_PHOTO), os.urandom(_RESULT)
    with small_cloud(latency_ms):
        clients = Clients(threads=threads)
        store, boto3 = S3Store(clients, input_bucket=_BUCKET, output_bucket=_BUCKET), clients.s3
        store.put("a", photo)
        requests: dict[str, Callable[[int], object]] = {
            "get by boto3": lambda _: boto3.get_object(Bucket=_BUCKET, Key="a")["Body"].read(),
            "get by S3Store": lambda _: store.get("a"),
            "put by boto3": lambda number: boto3.put_object(Bucket=_BUCKET, Key=f"results/{number}", Body=result),
            "put by S3Store": lambda number: store.put(f"results/{number}", result),
        }
        measured: dict[str, list[tuple[float, float]]] = {name: [] for name in requests}
        for _ in range(rounds):
            for name, do in requests.items():
                measured[name].append(_measure(do, count, threads))
    for name, runs in measured.items():
        rates, costs = zip(*runs, strict=True)
        spread = f"({min(costs):.2f}–{max(costs):.2f}, {rounds} rounds)"
        yield f"{name:14} {statistics.median(rates):6.0f}/s  {statistics.median(costs):.2f} ms of processor {spread}"
