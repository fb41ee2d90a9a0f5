"""`python -m bench`: measure speed, latency and memory on this machine, as ratios within one run where possible.

This module has the commands only. Each measurement is a function of a module beside it that yields lines.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

import click

from bench import adaptive, aws, connections, controller, crops, data, decoding, deletion, fleet, web, writers
from bench.chaos import disk
from bench.chaos.run import chaos, explained
from bench.chaos.traps import among, trapped
from bench.deployment import SHORT_TIMES, Deployment, wait_until
from bench.fleet import Bench
from bench.limit import Limit
from bench.machine import machine
from bench.photos import photos
from config import settings

_TRY_AGAIN = {"TAGFLEET_CONTROLLER__BREAKER_RESET_S": "3"}
"""Workers that are killed while they boot rightly open the breaker."""
_SOON_HUNG = {"TAGFLEET_WORKER__DECODE_TIMEOUT_S": "8"}
"""An image that hangs every decoder takes this long."""


@click.group(invoke_without_command=True)
@click.option(
    "--photos", "folder", type=click.Path(path_type=Path), help="JPEGs to tag; else the test data's, else made up"
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    help="folder of resnet50.safetensors; else the test data's, else random",
)
@click.option("--cache", default="~/.cache/tagfleet", help="where converted engines are kept")
@click.pass_context
def main(ctx: click.Context, folder: Path | None, weights: Path | None, cache: str) -> None:
    """Measure everything; or one of the commands."""
    if ctx.invoked_subcommand == "chaos":
        disk.enter()
    found = data.test_data(os.environ)
    folder = folder or (found and found / "coco" / "images")
    weights = weights or (found and found / "weights")
    if weights is None:
        weights = Path(ctx.with_resource(tempfile.TemporaryDirectory(prefix="tagfleet-bench-weights-")))
        data.random_weights(weights)
        click.echo("no weights at hand: random ones, which are as fast")
    ctx.obj = Bench(folder, {"TAGFLEET_WEIGHTS": str(weights), "TAGFLEET_CACHE": cache}, click.echo)
    click.echo(machine())
    if ctx.invoked_subcommand is None:
        for command in (latency, memory, speed, web_tier):
            ctx.invoke(command)


@main.command()
@click.option("--count", default=800, help="photos a round")
@click.option("--rounds", default=5)
@click.option(
    "--tagger", default="resnet50", show_default=True, help="with random weights where there are none at hand"
)
@click.pass_obj
def speed(bench: Bench, count: int, rounds: int, tagger: str) -> None:
    """Images/s of engine, limit and fleet, interleaved; the last line is the ratio that counts."""
    _say_all(fleet.report_speed(bench, count, rounds, tagger))


@main.command("crops")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def crops_command(folder: Path) -> None:
    """Copy the test data's photos into FOLDER, with single objects cut out of COCO's: to make and measure int8 with."""
    found = data.test_data(os.environ)
    if found is None:
        raise click.UsageError("there is no test data: name its folder in TAGFLEET_TEST_DATA")
    click.echo(f"{crops.collect(found, folder)} pictures are in {folder}")


@main.command()
@click.option("--count", default=30)
@click.option("--rounds", default=5)
@click.pass_obj
def latency(bench: Bench, count: int, rounds: int) -> None:
    """Seconds for a small batch from zero workers and with a warm one, and a worker's boot."""
    _say_all(fleet.report_latency(bench, count, rounds))


@main.command()
@click.option("--count", default=2000)
@click.pass_obj
def memory(bench: Bench, count: int) -> None:
    """Growth of each process over one large batch, after its first 200 photos."""
    _say_all(fleet.report_memory(bench, count))


@main.command("web")
@click.option("--count", default=10_000, help="images of the large batch")
@click.option("--streams", default=20, help="event streams that are open meanwhile")
@click.option("--rounds", default=5, help="rounds of 1,000 uploads")
@click.pass_obj
def web_tier(bench: Bench, count: int, streams: int, rounds: int) -> None:
    """The web tier without workers: uploads of 80 kB, memory over many of them, answers while streams are open."""
    with bench.deployment(TAGFLEET_CONTROLLER__MAX_WORKERS="0") as (deployment, client):
        wait_until(lambda: not deployment.find("prepare"), 300)
        web.upload(client, 200)
        rates = [web.upload(client, 1000)[1] for _ in range(rounds)]
        click.echo(f"uploads of 80 kB by one client: {fleet.format_spread(rates, 'files/s', 0)}")
        batch = client.create_batch()
        _say_all(web.memory(deployment, client, batch, count))
        _say_all(web.answers(deployment, client.batch(batch), streams=streams))


@main.command("chaos")
@click.option("--count", default=2000, help="photos")
@click.option("--seed", default=0, help="of the choice of faults; 0: another one each time")
@click.option("--minutes", default=9.0, help="the longest that it may take")
@click.option("--breaking", type=float, help="minutes in which things break, at most  [default: half of --minutes]")
@click.option("--every", type=(float, float), default=(0.5, 4.0), help="seconds between two faults, from and to")
@click.option(
    "--traps", type=click.IntRange(0), default=12, help="images that hang or crash decoders, among the photos"
)
@click.option("--tagger", default="resnet50", help="that tags the photos")
@click.pass_obj
def chaos_command(
    bench: Bench,
    count: int,
    seed: int,
    minutes: float,
    breaking: float | None,
    every: tuple[float, float],
    traps: int,
    tagger: str,
) -> None:
    """Kill parts, fill the disk, set a clock wrong while photos are tagged; the last line counts what came of it."""
    seed = seed or time.time_ns() % 1_000_000
    click.echo(f"seed {seed}")
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tagfleet-chaos-")))
        small = stack.enter_context(disk.Disk(scratch, (64 << 20) + count * 160_000))
        environ = {**bench.environ, **SHORT_TIMES, **_TRY_AGAIN, "TAGFLEET_POOLS__RESNET50__TAGGER": tagger}
        deployment = Deployment(scratch / "home", trapped({**environ, **_SOON_HUNG}))
        stack.callback(deployment.kill_everything)
        pictures = among(photos(bench.folder, count), traps)
        try:
            outcome = chaos(
                deployment,
                small,
                pictures,
                seed=seed,
                every_s=every,
                breaking_s=60 * (minutes / 2 if breaking is None else breaking),
                within_s=60 * minutes,
                say=click.echo,
            )
        except TimeoutError:
            click.echo(explained(deployment, Path(f"chaos-{seed}")))
            raise
    click.echo(outcome)
    if not outcome.sound:
        raise SystemExit(1)


@main.command("aws")
@click.option("--count", default=1000, help="photos a round")
@click.option("--rounds", default=5)
@click.option("--latency-ms", default=0.0, help="that S3 and SQS take for an answer; in a region S3 takes 20 to 50")
@click.option("--threads", default=2, help="that fetch, and that finish, on AWS")
@click.pass_obj
def aws_(bench: Bench, count: int, rounds: int, latency_ms: float, threads: int) -> None:
    """One worker on S3 and SQS (in memory, on loopback) beside files and SQLite: images/s, requests per 1,000."""
    contents = [content for _, content in photos(bench.folder, count)]
    with aws.small_cloud(latency_ms) as names, tempfile.TemporaryDirectory(prefix="tagfleet-bench-") as scratch:
        home = {**bench.environ, "TAGFLEET_HOME": scratch}
        local = settings.load(home)
        threaded = {"worker.fetch_threads": threads, "worker.finish_threads": threads}
        cloud = settings.load({**home, **names}, flags=threaded)
        tagger = Limit(local).tagger
        _say_all(aws.compared(local, cloud, tagger, contents, rounds))


@main.command("connections")
@click.option("--count", default=50, help="answers measured with each crowd")
def connections_(count: int) -> None:
    """How soon /healthz and an upload are answered while 2,400 connections are held open."""
    with tempfile.TemporaryDirectory(prefix="tagfleet-bench-") as scratch:
        _say_all(connections.report(Path(scratch) / "home", count))


@main.command("controller")
@click.option("--ticks", default=20)
def controller_(ticks: int) -> None:
    """A tick on AWS: seconds of work with up to 1,000 instances, and what its requests cost a month."""
    _say_all(controller.report(ticks))


@main.command("deletion")
@click.option("--images", default=300_000, show_default=True, help="of the batch")
@click.option("--catalog", default="", help="URL of an empty database of PostgreSQL; else a SQLite file is made")
@click.option("--objects/--no-objects", default=True, help="make an original and a result of each image, as files")
@click.option("--s3", is_flag=True, help="measure the removal alone, from a stand-in for S3 in memory")
@click.option("--latency-ms", default=20.0, show_default=True, help="that the stand-in takes for an answer")
def deletion_(images: int, catalog: str, objects: bool, s3: bool, latency_ms: float) -> None:
    """Delete, and cancel, a large batch: how long a writer beside it waits, and how fast rows and objects go."""
    lines = deletion.report_s3(images, latency_ms) if s3 else deletion.report(images, catalog, objects=objects)
    _say_all(lines)


@main.command("writers")
@click.option("--clients", default=32, show_default=True)
@click.option("--seconds", default=20.0, show_default=True)
@click.option("--catalog", default="", help="URL of an empty database of PostgreSQL; else a SQLite file is made")
def writers_(clients: int, seconds: float, catalog: str) -> None:
    """Clients of one process that add one image at a time: what each waits for the catalogue."""
    _say_all(writers.report(clients, seconds, catalog))


@main.command("adaptive")
@click.option("--coco", type=click.Path(exists=True, path_type=Path), help="COCO's images and instances.json")
@click.option("--repeats", default=20, help="times that photos are held back anew")
@click.option("--rounds", default=10, help="of corrections")
@click.option("--docs", type=click.Path(file_okay=False, path_type=Path), help="draw adaptive.png into this folder")
@click.option("--cache", default="~/.cache/tagfleet", help="where converted engines are kept")
def adaptive_(coco: Path | None, repeats: int, rounds: int, docs: Path | None, cache: str) -> None:
    """How accurate the tagger that learns becomes, round by round of corrections; a tag that nobody knew before."""
    found = data.test_data(os.environ)
    folder = coco or (found and found / "coco")
    if folder is None:
        raise click.UsageError("name a folder of COCO's with --coco: there is no test data (TAGFLEET_TEST_DATA)")
    every = adaptive.photos(folder, adaptive.tagger(cache))
    curve = adaptive.learning(every, repeats=repeats, rounds=rounds, a_round=12)
    fresh = adaptive.new_tag(every, repeats=repeats, most=5)
    _say_all(adaptive.lines(every, curve, fresh))
    fitted, none = adaptive.calibration(every, repeats=repeats)
    click.echo(f"expected calibration error {fitted:.2f}; without a temperature {none:.2f}")
    for tags in (100, 1000):
        click.echo(adaptive.size(tags))
    if docs is not None:
        adaptive.plot(curve, fresh, docs / "adaptive.png")


@main.command("florence2")
@click.option("--tokens", default=40, help="of an answer")
def florence2_(tokens: int) -> None:
    """What the tagger florence2 costs one core of a CPU: a look at a photo, a question, each token of an answer."""
    from bench import florence2

    _say_all(florence2.lines(florence2.measure(tokens)))


@main.command("decode")
@click.option("--megapixels", default=12, help="of each picture")
@click.option("--rounds", default=3, help="the best of which counts")
def decode_(megapixels: int, rounds: int) -> None:
    """What decoding a picture of each kind takes, beside what is estimated from its header."""
    _say_all(decoding.lines(megapixels, rounds))


def _say_all(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(line)


if __name__ == "__main__":
    main()
