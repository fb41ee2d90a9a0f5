"""Measure the web tier without workers: uploads, answers while streams are open, memory."""

from __future__ import annotations

import http.client
import json
import math
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from io import BytesIO

import click

from bench.crowd import crowd, stream_readers
from bench.deployment import Deployment, Process, wait_until
from bench.fleet import Bench, format_spread
from core.domain.messages import Job, Result, Tag, Timings, decode_job, encode_output
from core.storage import layout
from core.wiring import Backend
from tagfleet.client import Batch, Client

_BYTES = 80_000
_GROUP = 100
_LOOK_S = 3.0
_ASKED = 1000
_TAGS = tuple(Tag(name=f"label {number}", confidence=0.9 - number / 10) for number in range(5))


def upload(client: Client, count: int, prefix: str = "") -> tuple[Batch, float]:
    """Upload `count` different files of 80 kB; return the batch and the files/s."""
    batch = client.create_batch()
    files = [(f"{prefix}{number:05}.jpg", BytesIO(os.urandom(_BYTES))) for number in range(count)]
    started = time.perf_counter()
    taken = client.upload(batch, files)
    rate = count / (time.perf_counter() - started)
    if len({item.image_id for item in taken}) != count:
        raise RuntimeError(f"{count} files were sent, {len(taken)} came back")
    return batch, rate


def memory(deployment: Deployment, client: Client, batch: Batch, count: int) -> Iterator[str]:
    """Yield a line on the web process's resident memory over `count` uploads into `batch`."""
    web = _server(deployment)
    sizes = [web.rss_bytes() / 1e6]
    for start in range(0, count, 1000):
        names = (f"{number:06}.jpg" for number in range(start, min(start + 1000, count)))
        client.upload(batch, [(name, BytesIO(os.urandom(_BYTES))) for name in names])
        sizes.append(web.rss_bytes() / 1e6)
    yield f"resident memory of the web process over {count} uploads, MB: {' '.join(f'{size:.0f}' for size in sizes)}"


class Worker:
    """Answers jobs as a worker does, without reading the images."""

    def __init__(self, backend: Backend) -> None:
        self._jobs = backend.jobs(backend.settings.default_pool)
        self._results = backend.results

    def work(self, count: int) -> int:
        """Finish up to `count` images; return how many there were."""
        done = 0
        while done < count and (deliveries := self._jobs.receive(min(_GROUP, count - done), 0)):
            self._results.send([_result(decode_job(delivery.body)) for delivery in deliveries])
            self._jobs.delete(deliveries)
            done += len(deliveries)
        return done

    @contextmanager
    def working(self, rate: float) -> Iterator[None]:
        """Finish `rate` images/s meanwhile, in ten portions a second."""
        stopping = threading.Event()

        def run() -> None:
            while not stopping.wait(0.1):
                self.work(round(rate / 10))

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            stopping.set()
            thread.join()


def _server(deployment: Deployment) -> Process:
    """Return the one of gunicorn's two processes that serves."""
    return max(deployment.find("web"), key=lambda process: process.parent)


def _result(job: Job) -> str:
    result = Result(
        batch_id=job.batch_id,
        image_id=job.image_id,
        name=job.name,
        tagger="bench@1",
        tags=_TAGS,
        finished_at=time.time(),
        timings_ms=Timings(queue=812.5, fetch=2.1, decode=4.2, infer=21.3),
    )
    return encode_output(result, layout.result_key(job.batch_id, job.image_id))


def answer_times(url: str, batch_id: str, count: int) -> dict[str, list[float]]:
    """Return milliseconds of `count` GETs of a batch and of as many pages of its results, by turns."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)

    def get(path: str) -> tuple[float, bytes]:
        started = time.perf_counter()
        connection.request("GET", f"/api/v1/batches/{batch_id}{path}")
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path or 'the batch'} answered {answer.status}")
        return 1000 * (time.perf_counter() - started), body

    times: dict[str, list[float]] = {"batch": [], "page of 100": []}
    cursor = ""
    with closing(connection):
        for _ in range(count):
            times["batch"].append(get("")[0])
            took, body = get(f"/results?limit=100{cursor}")
            times["page of 100"].append(took)
            following = json.loads(body)["next_cursor"]
            cursor = f"&cursor={following}" if following else ""
    return times


def spread(times: Sequence[float]) -> str:
    """Return the median, the 99th percentile and the longest of milliseconds."""
    ordered = sorted(times)
    high = ordered[math.ceil(0.99 * len(ordered)) - 1]
    return f"median {ordered[len(ordered) // 2]:5.1f} ms, p99 {high:5.1f} ms, longest {ordered[-1]:5.1f} ms"


def answers(deployment: Deployment, batch: Batch, *, streams: int) -> Iterator[str]:
    """Yield lines on GETs of a half-finished batch and of its results, while `streams` event streams are open."""
    web = _server(deployment)
    worker = Worker(deployment.backend)
    waiting = deployment.backend.jobs(deployment.settings.default_pool)
    worker.work(waiting.depth().visible - batch.total // 2)
    wait_until(lambda: not deployment.backend.results.depth().outstanding, 120)
    with crowd(deployment.url, stream_readers(streams, batch.id)) as found:
        wait_until(lambda: found.events >= streams * batch.total, 120)
        yield f"{batch.total} images, half of them done, {streams} streams open:"
        for rate in (0, 100):
            with worker.working(rate):
                cpu, started = web.cpu_seconds(), time.perf_counter()
                time.sleep(_LOOK_S)
                busy = (web.cpu_seconds() - cpu) / (time.perf_counter() - started)
                times = answer_times(deployment.url, batch.id, _ASKED)
            yield f"  {rate} results/s arrive, for which the web process uses {busy:.0%} of a core"
            for what, took in times.items():
                yield f"    {what:12} {spread(took)}"


@click.command()
@click.option("--count", default=10_000, help="images of the large batch")
@click.option("--streams", default=20, help="event streams that stay open")
@click.option("--rounds", default=5, help="rounds of 1,000 uploads")
@click.pass_obj
def command(bench: Bench, count: int, streams: int, rounds: int) -> Iterator[str]:
    """Measure the web tier without workers.

    Uploads of 80 kB, memory over many of them, answers while event streams are open.
    """
    with bench.deployment(TAGFLEET_CONTROLLER__MAX_WORKERS="0") as (deployment, client):
        wait_until(lambda: not deployment.find("prepare"), 300)
        upload(client, 200)
        rates = [upload(client, 1000)[1] for _ in range(rounds)]
        yield f"uploads of 80 kB by one client: {format_spread(rates, 'files/s', 0)}"
        batch = client.create_batch()
        yield from memory(deployment, client, batch, count)
        yield from answers(deployment, client.batch(batch), streams=streams)
