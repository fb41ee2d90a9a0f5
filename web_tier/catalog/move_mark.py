"""Mark a catalogue that was moved, or that a move is filling, so that no process uses it by mistake.

1. The table `catalog_move` is only in catalogues that `tagfleet catalog move` has worked on. Migrations do not make it.
2. A process that starts reads the mark (`refuse_if_moved`).
3. Processes that run already, also those of older versions, meet triggers: in a catalogue that was moved they refuse
   each change, so no transaction has to read the mark.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, replace
from enum import StrEnum

from sqlalchemy import Column, Connection, MetaData, Table, Text, delete, insert, inspect, select

from core.errors import Misconfigured
from web_tier.catalog.tables import metadata

REFUSED_STATE = "TF001"
"""SQLSTATE of the error that PostgreSQL's triggers raise."""

_move = Table(
    "catalog_move",
    MetaData(),
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)
_MARK, _COPIED = "mark", "copied "


class CatalogMoved(Misconfigured):
    """The catalogue was moved, or a move into it is not finished."""


class Role(StrEnum):
    """What a catalogue is in its latest move."""

    LEAVING = "leaving"
    """It is being moved. It is in use while no move runs."""
    LEFT = "left"
    """It was moved. It refuses changes."""
    ARRIVING = "arriving"
    """A move into it is not finished."""
    ARRIVED = "arrived"
    """A move into it is finished. It is in use."""


@dataclass(frozen=True, slots=True)
class Mark:
    """The latest move of a catalogue. `other` is the other catalogue, without a password; `at` is Unix seconds."""

    role: Role
    move: str
    other: str
    at: float
    earlier: tuple[str, ...] = ()
    """Moves by which the content came here."""

    @property
    def lineage(self) -> tuple[str, ...]:
        """The moves by which the content came here, and the one that it leaves by."""
        return (*self.earlier, self.move)

    def explain(self) -> str:
        """Return as a clause why the catalogue cannot be used, and what to do."""
        if self.role is Role.ARRIVING:
            return (
                f"a move from {self.other} into it is not finished; run `tagfleet catalog move` again, "
                f"with web.catalog_url or home leading to {self.other}"
            )
        moment = time.strftime("%Y-%m-%d %H:%M", time.localtime(self.at))
        return f"it was moved to {self.other} on {moment}; {how_to_use(self.other)}"


def how_to_use(place: str) -> str:
    """Return as a clause how to start Tagfleet with the catalogue at `place`."""
    if place.startswith("postgresql:"):
        return "set web.catalog_url to that address, with its password, and start again"
    return "leave web.catalog_url empty, set home to the folder of that file, start again"


def read_mark(connection: Connection) -> Mark | None:
    """Return the mark; None for a catalogue that no move has worked on."""
    if not inspect(connection).has_table(_move.name):
        return None
    found = connection.execute(select(_move.c.value).where(_move.c.name == _MARK)).scalar_one_or_none()
    if found is None:
        return None
    values = json.loads(found)
    return Mark(**(values | {"role": Role(values["role"]), "earlier": tuple(values["earlier"])}))


def write_mark(connection: Connection, mark: Mark | None) -> None:
    """Set the mark, and let triggers refuse changes if the catalogue was moved. None removes the mark."""
    _move.create(connection, checkfirst=True)
    _remove_triggers(connection)
    if mark is None:
        _move.drop(connection)
        return
    connection.execute(delete(_move).where(_move.c.name == _MARK))
    connection.execute(insert(_move).values(name=_MARK, value=json.dumps(asdict(mark))))
    if mark.role is Role.LEFT:
        _add_triggers(connection, mark.explain())


def with_role(mark: Mark, role: Role, at: float) -> Mark:
    """Return the mark after its catalogue has got another role in the same move."""
    return replace(mark, role=role, at=at)


def refuse_if_moved(connection: Connection, place: str) -> None:
    """Raise CatalogMoved if the catalogue was moved, or is being filled by a move."""
    mark = read_mark(connection)
    if mark is not None and mark.role in (Role.LEFT, Role.ARRIVING):
        raise CatalogMoved(f"catalogue {place}: {mark.explain()}")


def read_copied(connection: Connection, table: str) -> str:
    """Return what `write_copied` wrote about a table in this move; empty if nothing."""
    query = select(_move.c.value).where(_move.c.name == _COPIED + table)
    return connection.execute(query).scalar_one_or_none() or ""


def write_copied(connection: Connection, table: str, copied: str) -> None:
    """Remember that a table was copied. Empty: forget it."""
    connection.execute(delete(_move).where(_move.c.name == _COPIED + table))
    if copied:
        connection.execute(insert(_move).values(name=_COPIED + table, value=copied))


def forget_copied(connection: Connection) -> None:
    """Forget which tables were copied."""
    connection.execute(delete(_move).where(_move.c.name != _MARK))


def _add_triggers(connection: Connection, explanation: str) -> None:
    said = "'" + explanation.replace("'", "''") + "'"
    if connection.dialect.name == "sqlite":
        for table in metadata.tables:
            for change in ("INSERT", "UPDATE", "DELETE"):
                connection.exec_driver_sql(
                    f"CREATE TRIGGER moved_{table}_{change} BEFORE {change} ON {table} "
                    f"BEGIN SELECT RAISE(ABORT, {said}); END"
                )
        return
    body = f"BEGIN RAISE EXCEPTION USING MESSAGE = {said}, ERRCODE = '{REFUSED_STATE}'; END"
    connection.exec_driver_sql(
        f"CREATE FUNCTION catalog_moved() RETURNS trigger LANGUAGE plpgsql AS $moved${body.replace('%', '%%')}$moved$"
    )
    for table in metadata.tables:
        connection.exec_driver_sql(
            f"CREATE TRIGGER catalog_moved BEFORE INSERT OR UPDATE OR DELETE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION catalog_moved()"
        )


def _remove_triggers(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        for table in metadata.tables:
            for change in ("INSERT", "UPDATE", "DELETE"):
                connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS moved_{table}_{change}")
        return
    connection.exec_driver_sql("DROP FUNCTION IF EXISTS catalog_moved() CASCADE")
