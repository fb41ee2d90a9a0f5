"""`tagfleet catalog`: move the catalogue into another database, check it, and give disk space back."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from config.settings import BadSetting, Settings
from core.errors import TagfleetError, Unavailable
from core.util.private import keep_private
from tagfleet.cli.common import with_settings
from tagfleet.text_tables import Column, echo_table

if TYPE_CHECKING:
    from sqlalchemy import URL

    from web_tier.catalog.upkeep.move import Moved

_EXPECTED = "give postgresql://USER@HOST:5432/DATABASE, or FOLDER/catalog.db"
_MOST_SHOWN = 100
_ENVIRONMENT = "TAGFLEET_CATALOG_TARGET"


@click.group("catalog")
def command() -> None:
    """Move, check and vacuum the catalogue."""


@command.command("move")
@click.argument("url", required=False, envvar=_ENVIRONMENT)
@click.option("--undo", is_flag=True, help="let the configured catalogue be used again after it was moved")
@with_settings()
def move_command(settings: Settings, url: str | None, undo: bool) -> None:
    """Move the catalogue to URL, and verify the copy.

    URL is postgresql://USER@HOST:5432/DATABASE, or FOLDER/catalog.db for SQLite. If it has a password, give it in the
    variable TAGFLEET_CATALOG_TARGET, or give - and write it to standard input: other users of this machine can see
    arguments.

    The service may run: until the move is done it answers uploads with 503, and clients try again. If the move ends
    early, the service goes on with the old catalogue, and the same command continues the move.
    """
    from web_tier.catalog.database import catalog_url
    from web_tier.catalog.move_mark import CatalogMoved
    from web_tier.catalog.upkeep import move
    from web_tier.catalog.upkeep.undo import undo as undo_move

    keep_private()
    if undo:
        other = undo_move(catalog_url(settings))
        click.echo(f"the catalogue can be used again. It does not have what was changed in {other} since the move")
        return
    if not url:
        raise click.UsageError(f"give the URL of the new catalogue, as an argument or in {_ENVIRONMENT}")
    source, target = catalog_url(settings), _target(url, settings)
    try:
        moved = move.move(source, target, time.time, _Progress())
    except CatalogMoved:
        raise
    except Unavailable as error:
        raise TagfleetError(f"{error}. Nothing is lost: run the same command again to continue") from error
    _show(moved)


@command.command("check")
@click.option("--repair", is_flag=True, help="correct what can be corrected; the service may run meanwhile")
@with_settings()
def check_command(settings: Settings, repair: bool) -> None:
    """Check the catalogue and the local queues.

    Reads all of them: files, schema, indexes, counts. Ends with 1 if something is wrong.
    """
    from core.local import queue_upkeep
    from web_tier.catalog.database import catalog_url
    from web_tier.catalog.upkeep import check

    keep_private()
    url, queues = catalog_url(settings), _queues(settings)
    if repair:
        for done in check.repair(url):
            click.echo(f"repaired: {done}")
        if queues is not None and queue_upkeep.check(queues):
            queue_upkeep.repair(queues)
            click.echo(f"repaired: messages of {queues} counted anew")
    checked = check.check(url)
    for note in checked.notes:
        click.echo(f"catalogue {checked.place}: {note}")
    problems = [f"catalogue {checked.place}: {problem}" for problem in checked.problems]
    if queues is not None:
        problems += queue_upkeep.check(queues)
    if problems:
        for problem in problems[:_MOST_SHOWN]:
            click.echo(problem)
        raise TagfleetError(f"{len(problems):,} problems found")
    click.echo(f"catalogue {checked.place}: no problems")
    if queues is not None:
        click.echo(f"queues {queues}: no problems")


@command.command("vacuum")
@with_settings()
def vacuum_command(settings: Settings) -> None:
    """Give unused disk space back.

    The service may run. SQLite rewrites its files: it needs free space for two copies, and uploads wait meanwhile.
    PostgreSQL uses the space of deleted rows again; its files seldom get smaller.
    """
    from core.local import queue_upkeep
    from web_tier.catalog.database import catalog_url
    from web_tier.catalog.upkeep import vacuum

    keep_private()
    os.environ.setdefault("SQLITE_TMPDIR", str(settings.home))  # /var/tmp may be on a smaller disk
    vacuumed = vacuum.vacuum(catalog_url(settings))
    click.echo(f"catalogue {vacuumed.place}: {_megabytes(vacuumed.before)} before, {_megabytes(vacuumed.after)} now")
    queues = _queues(settings)
    if queues is not None:
        freed = queue_upkeep.vacuum(queues)
        after = queues.stat().st_size
        click.echo(f"queues {queues}: {_megabytes(after + freed)} before, {_megabytes(after)} now")


def _queues(settings: Settings) -> Path | None:
    """Return the file of the local queues; None if there is none."""
    path = settings.home / "queues.db"
    return path if settings.backend == "local" and path.exists() else None


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def _target(text: str, settings: Settings) -> URL:
    """Return the URL of the new catalogue. Raises BadSetting, without the text: it may hold a password."""
    from sqlalchemy import URL

    from web_tier.catalog.database import with_password
    from web_tier.catalog.postgresql_url import postgresql_url

    text = (sys.stdin.readline() if text == "-" else text).strip()
    if text.startswith("sqlite:///") or "://" not in text:
        path = Path(text.removeprefix("sqlite:///")).expanduser().absolute()
        if path.name != "catalog.db" or path.is_dir() or not path.parent.is_dir():
            raise BadSetting(f"URL: it names no file catalog.db in a folder that exists; {_EXPECTED}")
        return URL.create("sqlite", database=str(path))
    try:
        return with_password(postgresql_url(text), settings)
    except BadSetting as error:
        reason = str(error).removeprefix("setting web.catalog_url: ").partition("; give a URL like")[0]
        raise BadSetting(f"URL: {reason}; {_EXPECTED}") from None


class _Progress:
    """Shows on standard error how far a move is: one line that changes on a terminal, else a line now and then."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._terminal = sys.stderr.isatty()
        self._every_s = 0.5 if self._terminal else 10.0
        self._began = self._shown = clock()
        self._all = self._done = 0

    def begin(self, rows: int) -> None:
        """The copy begins."""
        self._all = 2 * rows
        self._began = self._shown = self._clock()
        click.echo(f"{rows:,} rows to copy and verify; the service takes no changes meanwhile", err=True)

    def advance(self, table: str, phase: str, rows: int) -> None:
        """Show what was done, if it is time."""
        self._done += rows
        now = self._clock()
        if now - self._shown < self._every_s:
            return
        self._shown = now
        part = min(self._done / max(self._all, 1), 1.0)
        left_s = (now - self._began) * (1 - part) / part if part else 0.0
        line = f"{part:4.0%}  {table} {phase}  about {_duration(left_s)} left"
        click.echo(f"\r{line:<60}" if self._terminal else line, err=True, nl=not self._terminal)

    def end(self) -> None:
        """Clear the line."""
        if self._terminal:
            click.echo(f"\r{'':60}\r", err=True, nl=False)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _show(moved: Moved) -> None:
    from web_tier.catalog.move_mark import how_to_use

    rows = [(table.name, f"{table.rows:,}", table.digest) for table in moved.tables]
    echo_table([Column("table"), Column("rows", right=True), Column("checksum, the same in both")], rows)
    if moved.replaced:
        click.echo(f"{moved.replaced:,} rows had a text with NUL, which PostgreSQL cannot store; it is U+FFFD now")
    click.echo(f"moved from {moved.source}\n        to {moved.target}")
    click.echo("The old catalogue refuses changes from now on, and uploads wait.")
    click.echo("Web tier and collector of every host have to be stopped now. Then:")
    click.echo(how_to_use(moved.target))
