"""The catalogue's database: connections, transactions, migrations; on SQLite, or on PostgreSQL by its URL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sqlalchemy import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError, IntegrityError, PendingRollbackError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from config.settings import Settings
from core.errors import TagfleetError, Unavailable
from web_tier.catalog.database_health import DatabaseHealth, Fault
from web_tier.catalog.database_url import postgresql_url
from web_tier.catalog.postgresql import PostgreSQL
from web_tier.catalog.sqlite import SQLite

_MIGRATIONS = Path(__file__).with_name("migrations")


class Kind(Protocol):
    """What differs between the databases that a catalogue may lie in."""

    place: str
    """The database as messages name it: without a password."""

    def engines(self) -> tuple[Engine, Engine]:
        """Over one pool of connections: for transactions that only read one state, and for those that write."""

    def turn(self) -> AbstractContextManager[None]:
        """This process's turn at writing, where its database takes one writer at a time. May raise Unavailable."""

    def migrating(self, writers: Engine) -> AbstractContextManager[Connection]:
        """One transaction for a migration; others who want to migrate wait for its end."""

    def check_writable(self, writers: Engine) -> None:
        """Raises what SQLAlchemy raises where it does not answer, or takes no writes as far as that can be asked."""

    def advice(self, error: BaseException | None) -> str:
        """What happened and what to do, in a clause."""

    def fault(self, error: BaseException | None) -> Fault:
        """What kind of failure it is."""


class ConnectionLost(Unavailable):
    """The connection broke within a transaction that was not committed: nothing of it was kept."""


class OutcomeUnknown(Unavailable):
    """The connection broke while a transaction was committed: it was kept as a whole, or not at all."""


def catalog_url(settings: Settings) -> URL:
    """Return where the catalogue is: the setting web.catalog_url, or a SQLite file in the home folder.

    Raises BadSetting, which does not repeat the setting's value: there may be a password in it.
    """
    if not settings.web.catalog_url:
        return URL.create("sqlite", database=str(settings.home / "catalog.db"))
    url = postgresql_url(settings.web.catalog_url)
    if settings.aws.catalog_secret and url.password is None:
        from core.aws.clients import Clients  # a third of a second that most deployments need not wait for
        from core.aws.secrets import password_of

        url = url.set(password=password_of(Clients(settings.aws.region, threads=1), settings.aws.catalog_secret))
    return url


class Database:
    """Connections to one catalogue, for many threads; made after a fork, and only where `migrate` has run.

    A block of `reading` sees one state of the database throughout. A block of `writing` is one transaction, which is
    on the disk when the block ends and is rolled back when it raises. With `durable=False` a power cut may undo it for
    a moment longer; a crash of the process does not. Both raise Unavailable where the database is locked, full,
    unreadable, read only or away: ConnectionLost where they had begun and kept nothing, OutcomeUnknown where they may
    have.
    """

    def __init__(self, url: URL) -> None:
        self._kind = _kind(url)
        self._readers, self._writers = self._kind.engines()
        self._relaxed = self._writers.execution_options(durable=False)
        self.health = DatabaseHealth(self.check)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        phase = _Phase()
        with _explained(self._kind, phase, self.health), self._readers.connect() as connection:
            phase.begun = True
            yield connection
        self.health.went_well(writes=False)

    @contextmanager
    def writing(self, *, durable: bool = True) -> Iterator[Connection]:
        writers = self._writers if durable else self._relaxed
        phase = _Phase()
        with _explained(self._kind, phase, self.health), self._kind.turn(), writers.begin() as connection:
            phase.begun = True
            yield connection
            phase.ending = True
        self.health.went_well(writes=True)

    def check(self) -> None:
        """Raises Unavailable, with the reason, where the database does not answer or takes no writes."""
        with _explained(self._kind, _Phase(), self.health):
            self._kind.check_writable(self._writers)
        self.health.went_well(writes=True)

    def close(self) -> None:
        self._readers.dispose()


def migrate(url: URL) -> None:
    """Bring the catalogue at `url` to this version's shape, making it if need be; processes take turns.

    Leaves a shape of a newer version alone where this version can use it (`web_tier.catalog.schema_generations`).

    Raises Unavailable where it cannot be opened, TagfleetError where a newer version wrote it.
    """
    from alembic import command
    from alembic.config import Config
    from alembic.util.exc import CommandError

    from web_tier.catalog.schema_generations import shared_with_newer

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    kind = _kind(url)
    _, writers = kind.engines()
    try:
        with _explained(kind, _Phase()), kind.migrating(writers) as connection:
            config.attributes["connection"] = connection
            if not shared_with_newer(connection, config, kind.place):
                command.upgrade(config, "head")
    except CommandError as error:
        raise TagfleetError(
            f"catalogue {kind.place}: a newer version of Tagfleet wrote it; run that one ({error})"
        ) from None
    finally:
        writers.dispose()


def _kind(url: URL) -> Kind:
    return SQLite(url) if url.drivername == "sqlite" else PostgreSQL(url)


@dataclass(slots=True)
class _Phase:
    """How far a transaction has come."""

    begun: bool = False
    ending: bool = False
    """All its statements are done, and it is committed."""


@contextmanager
def _explained(kind: Kind, phase: _Phase, health: DatabaseHealth | None = None) -> Iterator[None]:
    try:
        yield
    except IntegrityError:
        raise
    except (DBAPIError, PendingRollbackError) as error:  # the latter: a statement after one that lost the connection
        broken = error.orig if isinstance(error, DBAPIError) else None
        fault = kind.fault(broken)
        if health is not None:
            health.failed(fault)
        said = f"catalogue {kind.place}: {kind.advice(broken)}"
        if fault is Fault.REFUSED or not phase.begun:
            raise Unavailable(said) from error
        if phase.ending and fault is Fault.LOST:
            raise OutcomeUnknown(f"{said}. Whether the last change was kept is not known") from error
        raise ConnectionLost(said) from error
    except NoConnectionFree as error:
        raise Unavailable(f"catalogue {kind.place}: all connections are in use") from error
