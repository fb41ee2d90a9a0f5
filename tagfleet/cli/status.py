"""`tagfleet status`

The fleet is read from the store and the queues, so that this works while the web tier is down; only the batches,
which are kept in its catalogue, are asked of it.
"""

from __future__ import annotations

import os
import textwrap
import time
from collections.abc import Iterator

import click

from config.settings import Settings
from core import layout
from core.operating import cap_in_words
from core.roster import Heartbeat
from core.wiring import Backend
from tagfleet.cli.common import existing, with_settings

_WIDTH = 79
_SILENT_BEATS = 5


@click.command("status", short_help="Show batches, queues and workers.")
@with_settings("port")
def command(settings: Settings) -> None:
    """Show the batches in progress, the queues, the workers and the controller's last decisions."""
    backend = existing(settings)
    for line in (*_batches(settings), *of_fleet(backend)):
        click.echo(line if len(line) <= _WIDTH else line[: _WIDTH - 1] + "…")


def of_fleet(backend: Backend) -> Iterator[str]:
    """Queues, workers, pools, decisions: what is known without a web tier."""
    for section in (_queues(backend), _workers(backend), _pools(backend), _decisions(backend)):
        yield from section


def _batches(settings: Settings) -> Iterator[str]:
    from tagfleet.client import Client, ClientError, Patience
    from tagfleet.supervisor import address_of

    key = os.environ.get("TAGFLEET_API_KEY")
    url = address_of(settings.home) or f"http://127.0.0.1:{settings.port}"
    try:
        with Client(url, api_key=key, timeout=5, patience=Patience(total_s=0)) as client:
            batches = [batch for batch in client.batches(limit=100) if not batch.completed_at and batch.total]
    except ClientError:
        yield f"The web tier does not answer at {url}; batches are not shown."
        return
    yield f"{url}: {len(batches) or 'no'} {'batch' if len(batches) == 1 else 'batches'} in progress"
    for batch in batches:
        failed = f", {batch.failed} failed" if batch.failed else ""
        speed = f", {batch.rate:.1f}/s" if batch.rate else ""
        left = f", {batch.eta_s:.0f} s left" if batch.eta_s is not None else ""
        yield f"  {batch.id}  {batch.completed} of {batch.total} done{failed}{speed}{left}"


def _queues(backend: Backend) -> Iterator[str]:
    yield ""
    yield f"{'queue':<32}{'waiting':>9}{'in flight':>11}{'dead':>7}"
    for queue in (*map(backend.jobs, backend.settings.pools), backend.results):
        depth = queue.depth()
        name = "results" if queue.name == layout.RESULTS_QUEUE else queue.name
        yield f"  {name:<30}{depth.visible + depth.delayed:>9}{depth.in_flight:>11}{depth.dead:>7}"


def _workers(backend: Backend) -> Iterator[str]:
    workers = backend.roster.workers()
    yield ""
    yield f"{'worker':<22}{'state':<10}{'pool':<18}{'done':>8}{'images/s':>10}{'memory':>9}" if workers else "no worker"
    for worker in workers:
        yield (
            f"  {worker.worker_id:<20}{worker.state:<10}{worker.pool:<18.17}"
            f"{worker.images_done:>8}{worker.rate:>10.1f}{worker.rss_bytes / 1e6:>6.0f} MB"
        )
        yield from _remarks(worker, _SILENT_BEATS * backend.settings.worker.heartbeat_s)


def _remarks(worker: Heartbeat, patience_s: float) -> Iterator[str]:
    silent = time.time() - worker.at
    if silent > patience_s:
        yield f"    last heard of {_ago(silent)}"
    if worker.notice:
        yield from _wrapped(worker.notice, "    ")


def _pools(backend: Backend) -> Iterator[str]:
    for pool in backend.roster.pools():
        yield ""
        serves = f"serves {pool.serves}" if pool.serves else f"wants {pool.wanted}"
        yield f"pool {pool.pool}: {pool.state}, {serves}"
        yield from _wrapped(pool.notice, "  ")


def _decisions(backend: Backend) -> Iterator[str]:
    yield ""
    yield from _wrapped(cap_in_words(backend.roster, backend.settings.controller.max_workers), "")
    if backend.roster.paused():
        yield ""
        yield "The fleet is paused; `tagfleet controller resume` goes on."
    for decision in backend.roster.decisions():
        yield ""
        yield f"controller on {decision.pool}: {decision.action}, {_ago(time.time() - decision.at)}"
        yield from _wrapped(decision.reason, "  ")


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=indent, subsequent_indent=indent)


def _ago(seconds: float) -> str:
    if seconds < 120:
        return f"{max(0.0, seconds):.0f} s ago"
    return f"{seconds / 60:.0f} min ago" if seconds < 7200 else f"{seconds / 3600:.0f} h ago"
