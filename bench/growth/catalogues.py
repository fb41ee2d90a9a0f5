"""Filled catalogues of several sizes beside each other, kept from one run to the next."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import URL, NullPool, create_engine

import web_tier
from bench.catalogs.filling import fill_catalogue
from bench.catalogs.plan import plan_catalogue
from web_tier.catalog.database import Database, migrate

_PART = "_part"


def of_size(base: URL, images: int) -> URL:
    """Return the URL of the catalogue with `images` images: catalog-10k.db beside catalog.db, growth10k for growth."""
    name = str(base.database)
    if base.drivername == "sqlite":
        path = Path(name)
        return base.set(database=str(path.with_name(f"{path.stem}-{short(images)}{path.suffix}")))
    return base.set(database=f"{name}{short(images)}")


def short(images: int) -> str:
    """Return a number of images in a few characters: 10k, 1m."""
    for unit, letter in ((1_000_000, "m"), (1000, "k")):
        if images % unit == 0:
            return f"{images // unit}{letter}"
    return str(images)


def ensure_filled(url: URL, images: int, revision: str | None = None) -> float | None:
    """Fill a new catalogue; return the seconds that this took, or None if it was there.

    `revision` is that of an earlier schema. The catalogue gets its name when it is complete.
    """
    if _exists(url):
        return None
    part = url.set(database=f"{url.database}{_PART}")
    _drop(part)
    began = time.perf_counter()
    _create(part)
    if revision is None:
        migrate(part)
    else:
        _upgrade(part, revision)
    fill_catalogue(part, plan_catalogue(images, time.time()))
    _rename(part, url)
    return time.perf_counter() - began


@contextmanager
def copied(url: URL, folder: Path) -> Iterator[URL]:
    """Copy a catalogue, a SQLite file into `folder`, and drop the copy when the block ends."""
    if url.drivername == "sqlite":
        copy = url.set(database=str(folder / "catalog.db"))
        shutil.copyfile(str(url.database), str(copy.database))
    else:
        copy = url.set(database=f"{url.database}_copy")
        _drop(copy)
        _administer(url, f'CREATE DATABASE "{copy.database}" TEMPLATE "{url.database}"')
        _administer(copy, "VACUUM ANALYZE", inside=True)
    try:
        yield copy
    finally:
        _drop(copy)


def disk_bytes(url: URL) -> int:
    """Return what the catalogue takes on the disk."""
    if url.drivername == "sqlite":
        return Path(str(url.database)).stat().st_size
    with closing(Database(url)) as database, database.reading() as connection:
        return int(connection.exec_driver_sql("SELECT pg_database_size(current_database())").scalar_one())


def _upgrade(url: URL, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(web_tier.__file__).with_name("catalog") / "migrations"))
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def _exists(url: URL) -> bool:
    if url.drivername == "sqlite":
        return Path(str(url.database)).exists()
    query = "SELECT 1 FROM pg_database WHERE datname = %(name)s"
    engine = create_engine(url.set(database="postgres"), poolclass=NullPool)
    with engine.connect() as connection:
        return connection.exec_driver_sql(query, {"name": url.database}).one_or_none() is not None


def _create(url: URL) -> None:
    if url.drivername != "sqlite":
        _administer(url, f"CREATE DATABASE \"{url.database}\" ENCODING 'UTF8' TEMPLATE template0")


def _rename(old: URL, new: URL) -> None:
    if old.drivername == "sqlite":
        Path(str(old.database)).rename(str(new.database))
    else:
        _administer(old, f'ALTER DATABASE "{old.database}" RENAME TO "{new.database}"')


def _drop(url: URL) -> None:
    if url.drivername != "sqlite":
        _administer(url, f'DROP DATABASE IF EXISTS "{url.database}" WITH (FORCE)')
        return
    path = Path(str(url.database))
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm", f"{path.stem}.lock"):
        path.with_name(name).unlink(missing_ok=True)


def _administer(url: URL, statement: str, *, inside: bool = False) -> None:
    """Execute a statement outside a transaction, in the server's own database or `inside` this one."""
    place = url if inside else url.set(database="postgres")
    engine = create_engine(place, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql(statement)
