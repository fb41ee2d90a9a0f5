"""`tagfleet status`

The fleet is read from the store and the queues, so that this works while the web tier is down; only the batches,
which are kept in its catalogue, are asked of it.
"""

from __future__ import annotations

import os
import textwrap
import time
from collections.abc import Iterator
from typing import Any

import click

from config.settings import Settings
from core.fleet.liveness import Attention, Liveness
from core.fleet.orders import describe_cap
from core.fleet.roster import Heartbeat, WorkerState
from core.storage import layout
from core.wiring import Backend
from tagfleet.cli.common import existing, with_settings

_WIDTH = 79
_BEATS = 3
"""So many beats of a worker are waited for before it is called silent."""
_POLL_S = 0.2


@click.command("status", short_help="Show batches, queues and workers.")
@with_settings("port")
def command(settings: Settings) -> None:
    """Show the batches in progress, the queues, the workers and the controller's last decisions."""
    backend = existing(settings)
    for line in (*_service(settings), *of_fleet(backend)):
        click.echo(line if len(line) <= _WIDTH else line[: _WIDTH - 1] + "…")


def of_fleet(backend: Backend) -> Iterator[str]:
    """Queues, workers, pools, decisions: what is known without a web tier."""
    for section in (_queues(backend), _workers(backend), _pools(backend), _decisions(backend)):
        yield from section


def _service(settings: Settings) -> Iterator[str]:
    """What only the web tier knows: its batches, and what has stood still while it watched."""
    from tagfleet.client import Client, ClientError, Patience
    from tagfleet.supervisor import address_of

    key = os.environ.get("TAGFLEET_API_KEY")
    url = address_of(settings.home) or f"http://127.0.0.1:{settings.port}"
    try:
        with Client(url, api_key=key, timeout=5, patience=Patience(total_s=0)) as client:
            batches = [batch for batch in client.batches(limit=100) if not batch.completed_at and batch.total]
            stalled = client.fleet().get("stalled", [])
    except ClientError:
        yield f"The web tier does not answer at {url}; batches are not shown."
        return
    yield f"{url}: {len(batches) or 'no'} {'batch' if len(batches) == 1 else 'batches'} in progress"
    for batch in batches:
        failed = f", {batch.failed} failed" if batch.failed else ""
        speed = f", {batch.rate:.1f}/s" if batch.rate else ""
        left = f", {batch.eta_s:.0f} s left" if batch.eta_s is not None else ""
        yield f"  {batch.id}  {batch.completed} of {batch.total} done{failed}{speed}{left}"
    for one in stalled:
        yield ""
        yield from _wrapped(f"{_named(one)} {one['detail']}", "")


def _named(stalled: dict[str, Any]) -> str:
    return f"worker {stalled['id']}" if stalled["part"] == "worker" else f"The {stalled['part']}"


def _queues(backend: Backend) -> Iterator[str]:
    yield ""
    yield f"{'queue':<32}{'waiting':>9}{'in flight':>11}{'dead':>7}"
    for queue in (*map(backend.jobs, backend.settings.pools), backend.results):
        depth = queue.depth()
        name = "results" if queue.name == layout.RESULTS_QUEUE else queue.name
        yield f"  {name:<30}{depth.visible + depth.delayed:>9}{depth.in_flight:>11}{depth.dead:>7}"


def _watched(backend: Backend) -> tuple[list[Heartbeat], Liveness]:
    """The workers, and which of them were seen to move: a look at the clock in a heartbeat would compare two clocks.

    Waits for as long as one that lives may take to beat, where one does not.
    """
    liveness, attention = Liveness(), Attention(time.monotonic, 1.0)
    deadline = time.monotonic() + _BEATS * backend.settings.worker.heartbeat_s
    while True:
        workers = backend.roster.workers()
        liveness.look({worker.worker_id: worker.seq for worker in workers}, attention.elapsed())
        awaited = [one for one in workers if not (liveness.moved(one.worker_id) or one.state is WorkerState.DRAINED)]
        if not awaited or time.monotonic() >= deadline:
            return workers, liveness
        time.sleep(_POLL_S)


def _workers(backend: Backend) -> Iterator[str]:
    workers, liveness = _watched(backend)
    yield ""
    yield f"{'worker':<22}{'state':<10}{'pool':<18}{'done':>8}{'images/s':>10}{'memory':>9}" if workers else "no worker"
    for worker in workers:
        yield (
            f"  {worker.worker_id:<20}{worker.state:<10}{worker.pool:<18.17}"
            f"{worker.images_done:>8}{worker.rate:>10.1f}{worker.rss_bytes / 1e6:>6.0f} MB"
        )
        yield from _remarks(worker, liveness)


def _remarks(worker: Heartbeat, liveness: Liveness) -> Iterator[str]:
    if worker.managed is False:
        yield "    started by hand: no controller ends it"
    if not liveness.moved(worker.worker_id) and worker.state is not WorkerState.DRAINED:
        yield f"    gives no sign of life: no heartbeat in {liveness.silent_s(worker.worker_id):.0f} s of watching"
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
    yield from _wrapped(describe_cap(backend.roster, backend.settings.controller.max_workers), "")
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
