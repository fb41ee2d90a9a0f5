"""`python -m bench`: measure speed, latency and memory on this machine, as ratios within one run where possible.

Each command is in the module of what it measures, imported only when it is called. It returns the lines of its report,
which are printed as they are measured.
"""

from __future__ import annotations

import importlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from bench import data
from bench.chaos import disk
from bench.machine import machine

_COMMANDS = {
    "speed": ("fleet:speed", "images/s of the fleet beside the machine's limit"),
    "latency": ("fleet:latency", "seconds for a small batch, and a worker's boot"),
    "memory": ("fleet:memory", "growth of each process over a large batch"),
    "web": ("web:command", "the web tier alone: uploads, answers, memory"),
    "feed": ("feed:command", "a worker on S3 and SQS: images/s by latency"),
    "requests": ("requests:command", "requests to S3 and SQS, and their price"),
    "objects": ("objects:command", "processor time of a get and a put on S3"),
    "costs": ("costs:command", "write docs/costs.md: $ for a million photos"),
    "controller": ("controller:command", "a tick on AWS: seconds and cost"),
    "connections": ("connections:command", "answers while 2,400 connections are open"),
    "processes": ("processes:command", "GETs of one web process and of several"),
    "writers": ("writers:command", "waits of clients that write to the catalogue"),
    "queue": ("queue_depth:command", "the local queue by messages that wait"),
    "databases": ("databases:command", "reads and results on SQLite beside PostgreSQL"),
    "page": ("page:command", "the page on a large batch, in Chromium"),
    "growth": ("growth.command:command", "reads and writes as the catalogue grows"),
    "sizes": ("sizes:command", "write docs/sizes.md: the disk for a million photos"),
    "deletion": ("deletion:command", "deleting and cancelling a large batch"),
    "decode": ("decoding:command", "decoding by format beside its estimate"),
    "adaptive": ("adaptive:command", "accuracy of the adaptive tagger by corrections"),
    "florence2": ("florence2:command", "florence2 on one CPU core"),
    "crops": ("crops:command", "make pictures for int8 engines"),
    "chaos": ("chaos.run:command", "kill processes and account for every photo"),
}
"""By name: the command's place in this package, and its line in the help, which needs no import."""
_EVERYTHING = ("latency", "memory", "speed", "web")


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name][0].partition(":")
        return getattr(importlib.import_module(f"bench.{module}"), name)  # type: ignore[no-any-return]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in _COMMANDS.items()])


@click.group(cls=_Commands, invoke_without_command=True)
@click.option("--photos", "folder", type=click.Path(path_type=Path), help="JPEGs  [default: test data, or synthetic]")
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    help="folder of resnet50.safetensors  [default: test data, or random]",
)
@click.option("--cache", default="~/.cache/tagfleet", help="where converted engines are kept")
@click.pass_context
def main(ctx: click.Context, folder: Path | None, weights: Path | None, cache: str) -> Iterator[str] | None:
    """Run one measurement, or latency, memory, speed and web if no command is given."""
    if ctx.invoked_subcommand == "chaos":
        disk.enter()
    from bench.fleet import Bench  # after `enter`, which starts this program again

    found = data.test_data(os.environ)
    folder = folder or (found and found / "coco" / "images")
    weights = weights or (found and found / "weights")
    if weights is None:
        weights = Path(ctx.with_resource(tempfile.TemporaryDirectory(prefix="tagfleet-bench-weights-")))
        data.random_weights(weights)
        click.echo("no weights found: using random ones, which are as fast")
    ctx.obj = Bench(folder, {"TAGFLEET_WEIGHTS": str(weights), "TAGFLEET_CACHE": cache}, click.echo)
    click.echo(machine())
    return _measure_everything(ctx) if ctx.invoked_subcommand is None else None


def _measure_everything(ctx: click.Context) -> Iterator[str]:
    for name in _EVERYTHING:
        command = main.get_command(ctx, name)
        assert command is not None
        yield from ctx.invoke(command)


@main.result_callback()
def _print(lines: Iterable[str] | None, **_options: object) -> None:
    for line in lines or ():
        click.echo(line)


if __name__ == "__main__":
    main()
