"""The catalogue's database: connections, transactions, migrations; on SQLite, or on PostgreSQL by its URL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from sqlalchemy import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from config.settings import BadSetting, Settings
from core.errors import TagfleetError, Unavailable
from web_tier.database_postgresql import PostgreSQL
from web_tier.database_sqlite import SQLite

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

    def advice(self, error: BaseException | None) -> str:
        """What happened and what to do, in a clause."""


def catalog_url(settings: Settings) -> URL:
    """Where the catalogue lies: the setting web.catalog_url, or a SQLite file in the home folder.

    Raises BadSetting, which does not repeat the setting's value: there may be a password in it.
    """
    if not settings.web.catalog_url:
        return URL.create("sqlite", database=str(settings.home / "catalog.db"))
    try:
        url = make_url(settings.web.catalog_url)
    except ArgumentError:
        url = URL.create("none")
    if url.drivername not in ("postgresql", "postgres", "postgresql+psycopg"):
        raise BadSetting(
            "setting web.catalog_url: give a URL like postgresql://USER@HOST:5432/DATABASE, or leave it empty"
        )
    if settings.aws.catalog_secret and url.password is None:
        from core.aws.clients import Clients  # a third of a second that most deployments need not wait for
        from core.aws.secrets import password_of

        url = url.set(password=password_of(Clients(settings.aws.region, threads=1), settings.aws.catalog_secret))
    return url.set(drivername="postgresql+psycopg")


class Database:
    """Connections to one catalogue, for many threads; made after a fork, and only where `migrate` has run.

    A block of `reading` sees one state of the database throughout. A block of `writing` is one transaction, which is
    on the disk when the block ends and is rolled back when it raises. With `durable=False` a power cut may undo it for
    a moment longer; a crash of the process does not. Both raise Unavailable where the database is locked, full,
    unreadable or away.
    """

    def __init__(self, url: URL) -> None:
        self._kind = _kind(url)
        self._readers, self._writers = self._kind.engines()
        self._relaxed = self._writers.execution_options(durable=False)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        with _explained(self._kind), self._readers.connect() as connection:
            yield connection

    @contextmanager
    def writing(self, *, durable: bool = True) -> Iterator[Connection]:
        writers = self._writers if durable else self._relaxed
        with _explained(self._kind), self._kind.turn(), writers.begin() as connection:
            yield connection

    def close(self) -> None:
        self._readers.dispose()


def migrate(url: URL) -> None:
    """Bring the catalogue at `url` to this version's shape, making it if need be; processes take turns.

    Raises Unavailable where it cannot be opened, TagfleetError where a newer version wrote it.
    """
    from alembic import command
    from alembic.config import Config
    from alembic.util.exc import CommandError

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    kind = _kind(url)
    _, writers = kind.engines()
    try:
        with _explained(kind), kind.migrating(writers) as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except CommandError as error:
        raise TagfleetError(
            f"catalogue {kind.place}: a newer version of Tagfleet wrote it; run that one ({error})"
        ) from None
    finally:
        writers.dispose()


def _kind(url: URL) -> Kind:
    return SQLite(url) if url.drivername == "sqlite" else PostgreSQL(url)


@contextmanager
def _explained(kind: Kind) -> Iterator[None]:
    try:
        yield
    except IntegrityError:
        raise
    except DBAPIError as error:
        raise Unavailable(f"catalogue {kind.place}: {kind.advice(error.orig)}") from error
    except NoConnectionFree as error:
        raise Unavailable(f"catalogue {kind.place}: all connections are in use") from error
