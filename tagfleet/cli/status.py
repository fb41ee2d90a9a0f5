"""`tagfleet status`: show batches, queues, workers and decisions.

The fleet is read from the store and the queues, so this works while the web tier is down. Only batches come from the
web tier, whose catalogue keeps them.
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
from tagfleet.text_tables import Column, Columns, table_lines, terminal_width

_WIDTH = 79
"""Characters in a line of sentences; tables are as wide as the terminal."""
_BEATS = 3
"""Heartbeats that a worker may miss before it counts as silent."""
_BATCH_COLUMNS: Columns = (
    "batch",
    Column("done", right=True),
    Column("failed", right=True),
    Column("images/s", right=True),
    Column("time left", right=True),
)
_QUEUE_COLUMNS: Columns = ("queue", *(Column(name, right=True) for name in ("waiting", "in flight", "dead")))
_WORKER_COLUMNS: Columns = (
    *("worker", "state", "pool", "engine"),
    *(Column(name, right=True) for name in ("done", "images/s", "memory")),
)
_POLL_S = 0.2


@click.command("status", short_help="Show batches, queues and workers.")
@with_settings("port")
def command(settings: Settings) -> None:
    """Show the batches in progress, the queues, the workers and the controller's last decisions."""
    backend = existing(settings)
    for line in (*_service(settings, terminal_width()), *fleet_lines(backend, terminal_width())):
        click.echo(line)


def fleet_lines(backend: Backend, width: int | None) -> Iterator[str]:
    """Yield queues, workers, pools and decisions, read without the web tier; tables are `width` characters wide."""
    for section in (_queues(backend, width), _workers(backend, width), _pools(backend), _decisions(backend)):
        yield from section


def _service(settings: Settings, width: int | None) -> Iterator[str]:
    """Yield the lines that only the web tier can give: batches, and processes that it has seen stall."""
    from tagfleet.client import Client, ClientError, Patience
    from tagfleet.supervisor import read_address

    key = os.environ.get("TAGFLEET_API_KEY")
    url = read_address(settings.home) or f"http://127.0.0.1:{settings.port}"
    try:
        with Client(url, api_key=key, timeout=5, patience=Patience(total_s=0)) as client:
            batches = [batch for batch in client.batches(limit=100) if not batch.completed_at and batch.total]
            stalled = client.fleet().get("stalled", [])
    except ClientError:
        yield f"The web tier does not answer at {url}; batches are not shown."
        return
    yield f"{url}: {len(batches) or 'no'} {'batch' if len(batches) == 1 else 'batches'} in progress"
    rows = [
        (
            batch.id,
            f"{batch.completed} of {batch.total}",
            batch.failed,
            f"{batch.rate:.1f}" if batch.rate else "",
            f"{batch.eta_s:.0f} s" if batch.eta_s is not None else "",
        )
        for batch in batches
    ]
    yield from table_lines(_BATCH_COLUMNS, rows, width=width, indent=2) if rows else ()
    for one in stalled:
        yield ""
        yield from _wrapped(f"{_named(one)} {one['detail']}", "")


def _named(stalled: dict[str, Any]) -> str:
    return f"worker {stalled['id']}" if stalled["part"] == "worker" else f"The {stalled['part']}"


def _queues(backend: Backend, width: int | None) -> Iterator[str]:
    yield ""
    rows = []
    for queue in (*map(backend.jobs, backend.settings.pools), backend.results):
        depth = queue.depth()
        name = "results" if queue.name == layout.RESULTS_QUEUE else queue.name
        rows.append((name, depth.visible + depth.delayed, depth.in_flight, depth.dead))
    yield from table_lines(_QUEUE_COLUMNS, rows, width=width)


def _watched(backend: Backend) -> tuple[list[Heartbeat], Liveness]:
    """Return the workers' heartbeats, and which of them moved while this process watched. It compares no two clocks.

    Waits a few heartbeats for workers that have not moved yet.
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


def _workers(backend: Backend, width: int | None) -> Iterator[str]:
    workers, liveness = _watched(backend)
    yield ""
    if not workers:
        yield "no workers"
    rows = [
        (
            worker.worker_id,
            worker.state,
            worker.pool,
            worker.engine,
            worker.images_done,
            f"{worker.rate:.1f}",
            f"{worker.rss_bytes / 1e6:.0f} MB",
        )
        for worker in workers
    ]
    yield from table_lines(_WORKER_COLUMNS, rows, width=width) if rows else ()
    for worker in workers:
        for remark in _remarks(worker, liveness):
            yield from _wrapped(f"worker {worker.worker_id}: {remark}", "  ")


def _remarks(worker: Heartbeat, liveness: Liveness) -> Iterator[str]:
    if worker.managed is False:
        yield "started by hand; no controller ends it"
    if not liveness.moved(worker.worker_id) and worker.state is not WorkerState.DRAINED:
        yield f"gives no sign of life: no heartbeat in {liveness.silent_s(worker.worker_id):.0f} s of watching"
    if worker.notice:
        yield worker.notice
    if worker.sizes:
        yield str(worker.sizes)


def _pools(backend: Backend) -> Iterator[str]:
    for pool in backend.roster.pools():
        yield ""
        serves = f"serves {pool.serves}" if pool.serves else f"wants {pool.wanted}"
        yield f"pool {pool.pool}: {pool.state}, {serves}"
        yield from _wrapped(pool.notice, "  ")
        yield from _wrapped(pool.offer, "  ")


def _decisions(backend: Backend) -> Iterator[str]:
    yield ""
    yield from _wrapped(describe_cap(backend.roster, backend.settings.controller.max_workers), "")
    if backend.roster.paused():
        yield ""
        yield "The fleet is paused until `tagfleet controller resume`."
    for decision in backend.roster.decisions():
        yield ""
        at = time.strftime("%H:%M:%S", time.localtime(decision.at))
        yield f"controller on {decision.pool}: {decision.action}, at {at}"
        yield from _wrapped(decision.reason, "  ")


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )  # a command's options stay whole
