"""`python -m bench.peers`: measure Tagfleet and other model servers in turn; print the table as markdown."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click

from bench import data, fleet
from bench.deployment import Deployment
from bench.machine import machine
from bench.peers import environments
from bench.peers.rounds import OURS, Runs, measure, report, verdict
from bench.peers.servers import ENGINES, PEERS, RIVAL, NotStarted, Server
from bench.photos import photos
from tagfleet.client import Client

_LINGER_S = "3600"
_WARM_UP = 32

Tag = Callable[[Sequence[tuple[str, bytes]]], float]
"""Sends the photos and returns the seconds until all are tagged."""


@click.command()
@click.option("--count", default=1000, show_default=True, help="photos for each server and round")
@click.option("--rounds", default=5, show_default=True)
@click.option("--threads", default=16, show_default=True, help="clients at once")
@click.option("--only", multiple=True, help="of litserve, bentoml, ray; else all")
@click.option("--engine", type=click.Choice(ENGINES), help="what the other servers run  [default: each in turn]")
@click.option("--cache", default="~/.cache/tagfleet", help="where converted engines are kept")
def main(count: int, rounds: int, threads: int, only: Sequence[str], engine: str | None, cache: str) -> None:
    """Measure images/s of each server in interleaved rounds, and Tagfleet's ratio to each with its spread.

    The last line is the ratio that counts: to LitServe with Tagfleet's own engine.
    """
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="peers-")))
        folder, environ = _test_data(scratch, cache)
        pictures = photos(folder, max(count, _WARM_UP))
        contents = [content for _, content in pictures]
        runs: Runs = {}
        tagfleet = stack.enter_context(_tagfleet(scratch, environ, threads))
        runs[OURS] = lambda: tagfleet(pictures[:count])
        tagfleet(pictures[:_WARM_UP])
        missing = []
        for number, peer in enumerate(PEERS):
            if (only and peer.name not in only) or engine not in (None, peer.engine):
                continue
            _say(f"starting {peer.title}")
            try:
                server = Server(peer, environ, scratch / str(number))
                stack.callback(server.end)
                server.wait(contents[0])
                server.tag(contents[:_WARM_UP], threads)
            except (environments.NotInstalled, NotStarted, RuntimeError) as error:
                missing.append(f"{peer.title}: not measured: {error}")
                continue
            runs[peer.title] = lambda server=server: server.tag(contents[:count], threads)  # type: ignore[misc]
        rates = measure(runs, count, rounds, missing, _say)
    about = f"{machine()}; {count} photos a round, {threads} clients, {rounds} rounds in turn"
    for line in report(rates, missing, about):
        click.echo(line)
    click.echo("")
    click.echo(verdict(rates, RIVAL.title))


def _test_data(scratch: Path, cache: str) -> tuple[Path | None, dict[str, str]]:
    """Return the folder of photos and the settings that name the weights; makes random weights if there are none."""
    found = data.test_data(os.environ)
    weights = found / "weights" if found else scratch / "weights"
    if not found:
        weights.mkdir()
        data.random_weights(weights)
        _say("no weights at hand: random ones, which are as fast")
    return found and found / "coco" / "images", {"TAGFLEET_WEIGHTS": str(weights), "TAGFLEET_CACHE": cache}


@contextmanager
def _tagfleet(
    scratch: Path, environ: dict[str, str], threads: int
) -> Iterator[Callable[[Sequence[tuple[str, bytes]]], float]]:
    """Run Tagfleet; yield a function that times a round, first upload to last result, over `threads` connections."""
    deployment = Deployment(scratch / "tagfleet", {**environ, "TAGFLEET_CONTROLLER__IDLE_KEEP_S": _LINGER_S})
    try:
        deployment.start()
        with Client(deployment.url, connections=threads) as client:
            yield lambda pictures: fleet.tag(client, pictures)[1]
    finally:
        deployment.kill_everything()


def _say(line: str) -> None:
    click.echo(line, err=True)


if __name__ == "__main__":
    main()
