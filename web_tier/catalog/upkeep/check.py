"""Check a catalogue as a whole, and repair what can be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import URL, Connection, Index, func, inspect, select, text

from core.errors import TagfleetError
from web_tier.catalog.counting import check_counts, repair_counts
from web_tier.catalog.database import Database, migrate
from web_tier.catalog.move_mark import read_mark, refuse_if_moved
from web_tier.catalog.schema_revision import current_revision, own_revision
from web_tier.catalog.tables import tags
from web_tier.catalog.upkeep.rows import tables_in_order
from web_tier.catalog.upkeep.side import Side
from web_tier.catalog.upkeep.sides import side_of

_REPAIR = "`tagfleet catalog check --repair`"


@dataclass(frozen=True, slots=True)
class Checked:
    """The findings of a check, one sentence each: what is wrong and what to do, and what is worth knowing."""

    place: str
    problems: list[str]
    notes: list[str]


def check(url: URL) -> Checked:
    """Check the catalogue at `url`, also while the service runs. Changes nothing. Raises Unavailable."""
    side = side_of(url)
    try:
        if not side.exists():
            return Checked(side.place, [], ["there is no catalogue yet"])
        with side.reading() as connection:
            problems, notes = list(_problems(side, connection)), list(_notes(connection))
    finally:
        side.close()
    if not problems:
        database = Database(url)
        try:
            problems = [f"{problem}; {_REPAIR} counts anew" for problem in check_counts(database)]
        finally:
            database.close()
    return Checked(side.place, problems, notes)


def repair(url: URL) -> list[str]:
    """Repair what can be repaired, while the service runs; return a clause for each repair.

    Migrates the catalogue to this version's schema first. Raises Unavailable, TagfleetError if the database itself is
    damaged.
    """
    migrate(url)
    side, done = side_of(url), []
    try:
        with side.reading() as connection:
            if damage := side.damage(connection):
                raise TagfleetError(f"catalogue {side.place}: it is damaged and cannot be repaired: {damage[0]}")
        with side.writing() as connection:
            for orphans in side.orphans(connection):
                connection.execute(
                    text(
                        f'DELETE FROM "{orphans.table}" WHERE "{orphans.column}" NOT IN '  # noqa: S608  # names
                        f'(SELECT "{orphans.owner_column}" FROM "{orphans.owner}")'
                    )
                )
                done.append(f"{orphans.rows:,} rows of {orphans.table} without their row of {orphans.owner} deleted")
        with side.writing() as connection:
            for index in _missing_indexes(side, connection):
                index.create(connection)
                done.append(f"index {index.name} made")
    finally:
        side.close()
    database = Database(url)
    try:
        if corrected := repair_counts(database):
            done.append(f"{corrected:,} counts corrected")
    finally:
        database.close()
    return done


def _problems(side: Side, connection: Connection) -> Iterator[str]:
    refuse_if_moved(connection, side.place)
    damage = side.damage(connection)
    for each in damage:
        yield f"the database is damaged: {each}. Stop tagfleet and restore it from a copy"
    if damage:
        return
    current, own = current_revision(connection) or "", own_revision()
    if current != own:
        older = current < own
        yield f"its schema has revision {current}, this version of Tagfleet has {own}; " + (
            f"start tagfleet, or run {_REPAIR}, to migrate it" if older else "check it with the version that wrote it"
        )
        return
    for orphans in side.orphans(connection):
        yield (
            f"{orphans.rows:,} rows of {orphans.table} belong to a row of {orphans.owner} that is missing; "
            f"{_REPAIR} deletes them"
        )
    for index in _missing_indexes(side, connection):
        yield f"index {index.name} is missing, so queries are slow; {_REPAIR} makes it"
    found = inspect(connection)
    for table in tables_in_order():
        if len(found.get_foreign_keys(table.name)) < len(table.foreign_keys):
            yield f"table {table.name} has lost a foreign key; move the catalogue into an empty database"


def _notes(connection: Connection) -> Iterator[str]:
    mark = read_mark(connection)
    if mark is not None:
        yield f"its latest move: {mark.role}, other place {mark.other}"
    if current_revision(connection) != own_revision():
        return
    unplaced = select(func.count()).select_from(tags).where(tags.c.batch_id.is_(None))
    if rows := connection.execute(unplaced).scalar_one():
        yield f"{rows:,} tags are not counted yet; the collector counts them while it runs"


def _missing_indexes(side: Side, connection: Connection) -> list[Index]:
    there = side.index_names(connection)
    return [
        index
        for table in tables_in_order()
        for index in sorted(table.indexes, key=lambda index: str(index.name))
        if index.name not in there
    ]
