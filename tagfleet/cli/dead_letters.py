"""`tagfleet dead-letters`: list jobs that failed too often, and send them back."""

from __future__ import annotations

import time
from collections.abc import Sequence

import click

from config.settings import BadSetting, Settings
from core.domain.notifications import preview_message
from core.errors import BadMessage
from core.fleet.dead_letters import peek_dead_letters
from core.storage.ports import Delivery, Queue
from tagfleet.cli.common import existing, with_settings
from tagfleet.tagging.report import printable
from tagfleet.text_tables import Column, echo_table


@click.group("dead-letters")
def command() -> None:
    """List jobs that failed too often, and send them back."""


@command.command("list")
@click.option("--pool", help="only this pool  [default: all]")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="at most this many of each pool")
@click.option("--after", type=click.IntRange(0, 10**18), help="continue behind this one  [default: at the start]")
@with_settings()
def list_command(settings: Settings, pool: str | None, limit: int, after: int | None) -> None:
    """Show dead letters: pool, time sent, deliveries, batch, name. They stay where they are.

    If a pool has more, the last line says how to see them. On AWS there is one page; raise --limit to see more.
    """
    found = 0
    for name, queue in _queues(settings, pool):
        letters = peek_dead_letters(queue, limit, "" if after is None else str(after))
        echo_table([Column()] * 4, [(name, *_cells(letter)) for letter in letters])
        found += len(letters)
        if len(letters) == limit or after is None:
            _echo_more(name, queue, letters, limit)
    if not found:
        click.echo("no dead letters" if after is None else f"no dead letters behind {after}", err=True)


def _echo_more(pool: str, queue: Queue, letters: Sequence[Delivery], limit: int) -> None:
    """Say how to see the dead letters behind this page, if there are any."""
    last = letters[-1].position if letters else ""
    if last and len(letters) == limit and peek_dead_letters(queue, 1, last):
        click.echo(
            f"{pool}  and more: tagfleet dead-letters list --pool {pool} --limit {limit} --after {last}", err=True
        )
    elif not last and (more := queue.depth().dead - len(letters)) > 0:
        click.echo(f"{pool}  and {more} more", err=True)


@command.command("redrive")
@click.option("--pool", help="only this pool  [default: all]")
@click.option("--limit", type=click.IntRange(1), help="at most this many of each pool  [default: all]")
@with_settings()
def redrive_command(settings: Settings, pool: str | None, limit: int | None) -> None:
    """Send dead letters back to their queue. Each gets all its attempts again."""
    for name, queue in _queues(settings, pool):
        dead = queue.depth().dead
        count = queue.redrive(dead if limit is None else limit) if dead else 0
        click.echo(f"{name}: {count} of {dead} dead letters sent back")


def _queues(settings: Settings, pool: str | None) -> list[tuple[str, Queue]]:
    if pool is not None and pool not in settings.pools:
        raise BadSetting(f"--pool: there is no pool {pool!r}; there are {', '.join(settings.pools)}")
    backend = existing(settings)
    return [(name, backend.jobs(name)) for name in settings.pools if pool in (None, name)]


def _cells(letter: Delivery) -> tuple[str, str, str]:
    sent = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(letter.sent_at))
    received = f"received {letter.receive_count} times"
    try:
        job = preview_message(letter.body)
    except BadMessage as error:
        return sent, received, str(error)
    return sent, received, f"{job.batch_id}  {printable(job.name)}"
