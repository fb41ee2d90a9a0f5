"""One chaos run: upload photos and tag a bucket while things break, let everything settle, end it, and count."""

from __future__ import annotations

import io
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import click

from bench.chaos.bucket import BucketTagging, fill_bucket
from bench.chaos.disk import Disk
from bench.chaos.faults import Faults
from bench.chaos.reckoning import Reckoning, RunReckoning, reckon
from bench.chaos.skew import SkewedController
from bench.chaos.traps import among, is_trap, trapped
from bench.deployment import SHORT_TIMES, Deployment, wait_until
from bench.fleet import Bench
from bench.photos import photos as make_photos
from bench.small_cloud.process import running
from core.domain.messages import Result, decode_job, decode_result
from core.fleet.dead_letters import peek_dead_letters
from tagfleet.client import Batch, Client, ClientError, Item, Patience

Photo = tuple[str, bytes]
T = TypeVar("T")

_GROUP = 10
_SENDERS = 3
_RETRY_S = 0.3
_SETTLED_S = 60.0
_ENDING_S = 10.0
"""A result that is double then stays double."""
_TRY_AGAIN = {"TAGFLEET_CONTROLLER__BREAKER_RESET_S": "3"}
"""Workers that are killed while they boot rightly open the breaker."""
_SOON_HUNG = {"TAGFLEET_WORKER__DECODE_TIMEOUT_S": "8"}
"""An image that hangs every decoder takes this long."""
_MOST_LETTERS = 100_000
_IMPATIENT = Patience(total_s=5.0)


@dataclass(frozen=True, slots=True)
class Schedule:
    """When things break. Times are seconds."""

    seed: int
    every_s: tuple[float, float]
    """The shortest and the longest pause between two faults."""
    breaking_s: float
    """The longest time in which faults are injected."""
    within_s: float
    """The longest time until the batch is complete, from the start."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended."""

    reckoning: Reckoning
    bucket: RunReckoning
    faults: dict[str, int]
    ahead_s: int
    waiting: int
    """Messages left in the queues of jobs and results."""
    processes: int
    """Processes left after `up` had ended."""
    seconds: float

    @property
    def sound(self) -> bool:
        return self.reckoning.sound and self.bucket.sound and not self.waiting and not self.processes

    def __str__(self) -> str:
        """The run's last line."""
        kills = {role: count for role, count in self.faults.items() if role != "disk full"}
        each = ", ".join(f"{role} {count}" for role, count in sorted(kills.items()))
        clock = f"a controller's clock {self.ahead_s} s ahead"
        full = self.faults.get("disk full", 0)
        disk = f"the disk full {full} times" if full else "the disk never full (mounting is not allowed here)"
        left = f"{self.waiting} messages and {self.processes} processes left"
        faults = f"{sum(kills.values())} kills ({each}), {disk}, {clock}"
        return f"{self.reckoning}; {self.bucket}; {left}; {faults}; {self.seconds:.0f} s"


def chaos(
    deployment: Deployment,
    disk: Disk,
    photos: Sequence[Photo],
    uris: Sequence[str],
    schedule: Schedule,
    say: Callable[[str], None] = lambda _line: None,
) -> Outcome:
    """Upload `photos`, tag the bucket's `uris`, and inject faults until all are tagged or the time for faults is over.

    Raises TimeoutError if the batch or the run is not complete within the schedule's time.
    """
    started = time.monotonic()
    deployment.start()
    skewed = SkewedController(deployment)
    faults = Faults(deployment, disk, schedule.seed, schedule.every_s)
    tagging = BucketTagging(deployment, uris)
    for thread in (skewed, faults, tagging):
        thread.start()
    with Client(deployment.url, patience=_IMPATIENT) as client:
        batch = _insist(client.create_batch)
        with ThreadPoolExecutor(_SENDERS) as pool:
            groups = [photos[start : start + _GROUP] for start in range(0, len(photos), _GROUP)]
            accepted = [id_ for ids in pool.map(lambda group: _upload(client, batch, group), groups) for id_ in ids]
        say(f"{len(accepted)} photos accepted after {time.monotonic() - started:.0f} s; {dict(faults.done)}")
        _insist(lambda: client.close(batch))
        _wait(client, batch, lambda: time.monotonic() - started > schedule.breaking_s, say)
        faults.stop()
        _wait(client, batch, lambda: _late(started, schedule.within_s), say)
        while tagging.is_alive() and not _late(started, schedule.within_s):
            tagging.join(_RETRY_S)
        skewed.stop()
        letters = _settled(deployment, batch)
        items = _insist(lambda: list(client.results(batch)))
    backend = deployment.backend
    queues = [*map(backend.jobs, deployment.settings.pools), backend.results]
    waiting = sum(queue.depth().outstanding for queue in queues)
    deployment.stop()
    with suppress(TimeoutError):  # a decoder that hangs ends a second after its worker
        wait_until(lambda: not deployment.processes(), _ENDING_S)
    left = deployment.processes()
    for process in left:
        say(f"still there: {process}")
    return Outcome(
        reckoning=reckon(
            accepted,
            dict(_bucket(deployment, batch)),
            letters,
            items,
            traps=[item.image_id for item in items if is_trap(item.name)],
        ),
        bucket=tagging.reckon(),
        faults=dict(faults.done),
        ahead_s=skewed.ahead_s,
        waiting=waiting,
        processes=len(left),
        seconds=time.monotonic() - started,
    )


def explained(deployment: Deployment, keep: Path) -> str:
    """Describe a run that did not finish; copy its logs to the folder `keep`."""
    shutil.copytree(deployment.home / "logs", keep / "logs", dirs_exist_ok=True)
    (keep / "up.log").write_text(deployment.said)
    backend = deployment.backend
    depths = {pool: backend.jobs(pool).depth() for pool in deployment.settings.pools}
    lines = [f"{name}: {depth}" for name, depth in {**depths, "results": backend.results.depth()}.items()]
    lines += map(str, backend.roster.workers())
    lines += [f"{record.pool}: {record.action}, {record.reason}" for record in backend.roster.decisions()]
    lines += [f"running: {process}" for process in deployment.processes()]
    return "\n".join([*lines, f"logs: {keep}"])


def _upload(client: Client, batch: Batch, group: Sequence[Photo]) -> list[str]:
    sources = [(name, io.BytesIO(content)) for name, content in group]
    items: list[Item] = _insist(lambda: client.upload(batch, sources))
    return [item.image_id for item in items]


def _insist(call: Callable[[], T]) -> T:
    """Upload as a determined person does: try again, whatever the service answers."""
    while True:
        try:
            return call()
        except ClientError:
            time.sleep(_RETRY_S)


def _wait(client: Client, batch: Batch, over: Callable[[], bool], say: Callable[[str], None]) -> None:
    told = 0
    while not over():
        now = _insist(lambda: client.batch(batch))
        if now.status == "completed":
            return
        if now.completed - told >= now.total / 10:
            told = now.completed
            say(f"{now.completed} of {now.total} done, {now.failed} failed")
        time.sleep(_RETRY_S)


def _settled(deployment: Deployment, batch: Batch) -> list[str]:
    """Return the images of the dead letters, once nothing is in flight and the collector has swept them.

    A photo may be done and its job still in flight, where a worker was killed between the two. Raises TimeoutError.
    """
    backend = deployment.backend
    jobs = [backend.jobs(pool) for pool in deployment.settings.pools]
    wait_until(lambda: not any(queue.depth().outstanding for queue in (*jobs, backend.results)))
    until = time.monotonic() + _SETTLED_S
    while True:
        dead = [decode_job(letter.body) for queue in jobs for letter in peek_dead_letters(queue, _MOST_LETTERS)]
        letters = [job.image_id for job in dead if job.batch_id == batch.id]
        if time.monotonic() > until or not set(letters) & dict(_bucket(deployment, batch)).keys():
            return letters
        time.sleep(_RETRY_S)


def _late(started: float, within_s: float) -> bool:
    if time.monotonic() - started > within_s:
        raise TimeoutError(f"the batch or the run was not complete after {within_s:.0f} s")
    return False


def _bucket(deployment: Deployment, batch: Batch) -> Iterator[tuple[str, Result]]:
    store = deployment.backend.store
    for info in store.list(f"results/{batch.id}/"):
        result = decode_result(store.get(info.key).data)
        yield result.image_id, result


@click.command()
@click.option("--count", default=2000, help="photos")
@click.option("--seed", default=0, help="for the choice of faults; 0: another one each time")
@click.option("--minutes", default=9.0, help="the longest that the run may take")
@click.option("--breaking", type=float, help="minutes in which things break, at most  [default: half of --minutes]")
@click.option("--every", type=(float, float), default=(0.5, 4.0), help="seconds between two faults, from and to")
@click.option("--traps", type=click.IntRange(0), default=12, help="images among the photos that harm decoders")
@click.option("--bucket", type=click.IntRange(1), default=500, help="photos in a bucket, which are tagged in place")
@click.option("--tagger", default="resnet50", help="tags the photos")
@click.pass_obj
def command(
    bench: Bench,
    count: int,
    seed: int,
    minutes: float,
    breaking: float | None,
    every: tuple[float, float],
    traps: int,
    bucket: int,
    tagger: str,
) -> None:
    """Kill processes, fill the disk and set a clock wrong while uploads and a bucket are tagged.

    The last line counts what became of the photos.
    """
    seed = seed or time.time_ns() % 1_000_000
    click.echo(f"seed {seed}")
    schedule = Schedule(seed, every, 60 * (minutes / 2 if breaking is None else breaking), 60 * minutes)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tagfleet-chaos-")))
        small = stack.enter_context(Disk(scratch, (64 << 20) + count * 160_000))
        environ = {**bench.environ, **SHORT_TIMES, **_TRY_AGAIN, "TAGFLEET_POOLS__RESNET50__TAGGER": tagger}
        cloud = stack.enter_context(running())
        deployment = Deployment(scratch / "home", trapped({**environ, **_SOON_HUNG, **cloud.environ}))
        stack.callback(deployment.kill_everything)
        pictures = among(make_photos(bench.folder, count), traps)
        uris = fill_bucket(cloud.url, make_photos(bench.folder, bucket))
        try:
            outcome = chaos(deployment, small, pictures, uris, schedule, click.echo)
        except TimeoutError:
            click.echo(explained(deployment, Path(f"chaos-{seed}")))
            raise
    click.echo(outcome)
    if not outcome.sound:
        raise SystemExit(1)
