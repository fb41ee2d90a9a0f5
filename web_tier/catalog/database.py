"""The catalogue's database: connections, transactions and migrations, on SQLite or PostgreSQL.

Several versions of Tagfleet share one catalogue while hosts are replaced one after the other:

1. The first host of a new version migrates the catalogue. Hosts of the previous version still use it, and may restart.
2. So a migration only adds: tables, nullable columns, indexes, wider types. What code of the previous version reads and
   writes keeps working.
3. Revisions count up within a *generation*: 0001 to 0999 are the first, 1000 to 1999 the second. Code accepts a newer
   revision of its own generation, and refuses a newer generation with one line.
4. A migration that removes or renames starts a generation. All processes of the previous version must be stopped first.

`tests/unit/web_tier/catalog/test_migrations_expand.py` checks that each migration obeys 2.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from sqlalchemy import URL, Connection, Row, Select
from sqlalchemy.exc import DBAPIError, IntegrityError, PendingRollbackError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from config.settings import Settings
from core.errors import TagfleetError, Unavailable
from core.telemetry import logger
from core.util.group_commit import GroupCommit
from web_tier.catalog.access import Access
from web_tier.catalog.database_health import DatabaseHealth, Fault
from web_tier.catalog.move_mark import CatalogMoved, refuse_if_moved
from web_tier.catalog.postgresql import PostgreSQL
from web_tier.catalog.postgresql_url import postgresql_url
from web_tier.catalog.schema_revision import current_revision, migration_config, own_revision
from web_tier.catalog.sqlite import SQLite

if TYPE_CHECKING:
    from alembic.config import Config

T = TypeVar("T")
AnyRow = Row[*tuple[Any, ...]]
AnySelect = Select[*tuple[Any, ...]]

_GENERATION_SIZE = 1000


class Kind(Protocol):
    """The operations that differ between the kinds of database."""

    place: str
    """The database as messages name it, without a password."""
    one_writer: bool
    """Whether it takes one writer at a time, so that writers should share transactions."""

    def connect(self, access: Access) -> AbstractContextManager[Connection]:
        """Take a connection from the pool for this block, and begin what `access` says. Raises SQLAlchemy's errors."""

    def close(self) -> None:
        """Close all connections of the pool."""

    def turn(self) -> AbstractContextManager[None]:
        """Hold this process's turn to write, if the database takes one writer at a time. May raise Unavailable."""

    def migrating(self) -> AbstractContextManager[Connection]:
        """Begin a transaction for a migration; other processes that migrate wait for its end."""

    def check_writable(self) -> None:
        """Check that the database answers and, if that can be asked, takes writes. Raises SQLAlchemy's errors."""

    def advice(self, error: BaseException | None) -> str:
        """Return what happened and what to do, as a clause."""

    def fault(self, error: BaseException | None) -> Fault:
        """Return what kind of failure this is."""


class ConnectionLost(Unavailable):
    """The connection broke during a transaction: nothing of it was kept."""


class OutcomeUnknown(Unavailable):
    """The connection broke during a commit: the transaction was kept as a whole, or not at all."""


def catalog_url(settings: Settings) -> URL:
    """Return the catalogue's URL: the setting web.catalog_url, or a SQLite file in the home folder.

    Raises BadSetting, which does not repeat the setting's value, because that may contain a password.
    """
    if not settings.web.catalog_url:
        return URL.create("sqlite", database=str(settings.home / "catalog.db"))
    return with_password(postgresql_url(settings.web.catalog_url), settings)


def with_password(url: URL, settings: Settings) -> URL:
    """Return the URL with the password of the setting aws.catalog_secret, if that is set and the URL has none."""
    if settings.aws.catalog_secret and url.password is None:
        from core.aws.clients import Clients  # takes a third of a second that most deployments can save
        from core.aws.secrets import password_of

        url = url.set(password=password_of(Clients(settings.aws.region, threads=1), settings.aws.catalog_secret))
    return url


class Database:
    """Connections to one catalogue, for many threads. Create it after a fork, and only after `migrate`.

    A block of `reading` sees a single snapshot of the database; `fetch` does, too, and takes one round trip instead of
    three. A block of `writing` is one transaction, which is on disk when the block ends, and rolled back when it
    raises. With `durable=False`, a power cut shortly after may undo it; a crash of the process cannot. All raise
    Unavailable if the database is locked, full, unreadable, read only or away: ConnectionLost if the transaction had
    begun and nothing was kept, OutcomeUnknown if it may have been kept.

    With `processes`, it makes only its part of the connections that one process would.
    """

    def __init__(self, url: URL, clock: Callable[[], float] = time.monotonic, *, processes: int = 1) -> None:
        """`clock` is monotonic, in seconds."""
        self._kind = _kind(url, clock, processes)
        self.health = DatabaseHealth(self.check)
        self._group = GroupCommit(lambda durable: self.writing(durable=durable))

    def fetch(self, query: AnySelect, parameters: Mapping[str, Any] | None = None) -> Sequence[AnyRow]:
        """Return the rows of one query. If it loses its connection, it is run once more."""
        try:
            return self._fetch(query, parameters)
        except ConnectionLost:
            return self._fetch(query, parameters)

    def _fetch(self, query: AnySelect, parameters: Mapping[str, Any] | None) -> Sequence[AnyRow]:
        with self._reading(Access.ONE_QUERY) as connection:
            return connection.execute(query, parameters).all()

    def reading(self) -> AbstractContextManager[Connection]:
        """Read in one transaction, which sees a single snapshot. A single query is cheaper by `fetch`."""
        return self._reading(Access.SNAPSHOT)

    @contextmanager
    def _reading(self, access: Access) -> Iterator[Connection]:
        phase = _Phase()
        with _translate_errors(self._kind, phase, self.health), self._kind.connect(access) as connection:
            phase.begun = True
            yield connection
        self.health.record_success(writes=False)

    @contextmanager
    def writing(self, *, durable: bool = True) -> Iterator[Connection]:
        """Write in one transaction, which is committed at the end of the block."""
        access = Access.WRITE if durable else Access.WRITE_RELAXED
        phase = _Phase()
        with (
            _translate_errors(self._kind, phase, self.health),
            self._kind.turn(),
            self._kind.connect(access) as connection,
        ):
            phase.begun = True
            yield connection
            phase.ending = True
        self.health.record_success(writes=True)

    def write(self, work: Callable[[Connection], T], *, durable: bool = True) -> T:
        """Run `work` in a transaction, which it may share with work of other threads; return its result once committed.

        Work that raises a TagfleetError must not have written before. Otherwise like `writing`.
        """
        if self._kind.one_writer:
            return self._group.run(work, durable=durable)
        with self.writing(durable=durable) as connection:
            return work(connection)

    def check(self) -> None:
        """Raise Unavailable, with the reason, if the database does not answer or takes no writes."""
        with _translate_errors(self._kind, _Phase(), self.health):
            self._kind.check_writable()
            with self._kind.connect(Access.SNAPSHOT) as connection:
                refuse_if_moved(connection, self._kind.place)
        self.health.record_success(writes=True)

    def close(self) -> None:
        """Close all connections."""
        self._kind.close()


def migrate(url: URL, *, for_move: bool = False) -> None:
    """Create the catalogue at `url`, or bring it to this version's schema; processes take turns.

    Leaves the schema of a newer version alone if this version can use it (see the module). Raises Unavailable if the
    catalogue cannot be opened or, unless `for_move`, was moved (CatalogMoved); TagfleetError if this version cannot use
    a newer schema.
    """
    from alembic import command
    from alembic.util.exc import CommandError

    config = migration_config()
    kind = _kind(url)
    try:
        with _translate_errors(kind, _Phase()), kind.migrating() as connection:
            if not for_move:
                refuse_if_moved(connection, kind.place)
            config.attributes["connection"] = connection
            if not _is_newer_but_usable(connection, config, kind.place):
                command.upgrade(config, "head")
    except CommandError as error:
        raise TagfleetError(
            f"catalogue {kind.place}: a newer version of Tagfleet wrote it; run that one ({error})"
        ) from None
    finally:
        kind.close()


def _is_newer_but_usable(connection: Connection, config: Config, place: str) -> bool:
    """Return whether the schema is a newer version's that this version can use. Raises TagfleetError if it cannot."""
    from alembic.script import ScriptDirectory

    script = ScriptDirectory.from_config(config)
    newest, current = own_revision(), current_revision(connection)
    if current is None or any(current == known.revision for known in script.walk_revisions()):
        return False
    if _generation(current) != _generation(newest):
        raise TagfleetError(
            f"catalogue {place}: a newer version of Tagfleet wrote it (revision {current}, this version has {newest}); "
            "run that version"
        )
    logger().info("catalogue of a newer version", catalogue=place, revision=current, own_revision=newest)
    return True


def _generation(revision: str) -> int | str:
    """Return the generation of a revision. One that is not a number is a generation of its own."""
    return int(revision) // _GENERATION_SIZE if revision.isascii() and revision.isdigit() else revision


def _kind(url: URL, clock: Callable[[], float] = time.monotonic, processes: int = 1) -> Kind:
    return SQLite(url) if url.drivername == "sqlite" else PostgreSQL(url, clock, processes)


@dataclass(slots=True)
class _Phase:
    """How far a transaction has got."""

    begun: bool = False
    ending: bool = False
    """All its statements are done, and it is being committed."""


@contextmanager
def _translate_errors(kind: Kind, phase: _Phase, health: DatabaseHealth | None = None) -> Iterator[None]:
    try:
        yield
    except IntegrityError:
        raise
    except CatalogMoved:
        if health is not None:
            health.record_failure(Fault.MOVED)
        raise
    except (DBAPIError, PendingRollbackError) as error:  # the latter comes from a statement after the loss
        original = error.orig if isinstance(error, DBAPIError) else None
        fault = kind.fault(original)
        if health is not None:
            health.record_failure(fault)
        what = f"catalogue {kind.place}: {kind.advice(original)}"
        if fault is Fault.REFUSED or not phase.begun:
            raise Unavailable(what) from error
        if phase.ending and fault is Fault.LOST:
            raise OutcomeUnknown(f"{what}. Whether the last change was kept is not known") from error
        raise ConnectionLost(what) from error
    except NoConnectionFree as error:
        raise Unavailable(f"catalogue {kind.place}: all connections are in use") from error
