"""Move a catalogue into another database, verified, while no process can write to it.

1. The source is marked as leaving, the target as arriving, both with the id of this move. A process that starts refuses
   the target from now on.
2. The source is locked against writers for as long as this process copies. They get Unavailable, and try again. If this
   process ends, the lock is gone and the service goes on with the source.
3. Tables are copied whole, one after the other. Each is read back from the target, and has to have the checksum that
   the source had. Then the target remembers the table.
4. A repeated move copies only tables that the target does not remember, or that have changed in the source since.
5. The transaction that ends the lock marks the source as left, with triggers that refuse changes. So nobody can write
   to the source after it was copied. Then the target is marked as arrived.
6. If this process ends between these two, neither catalogue is in use, and a repeated move does only the last step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from sqlalchemy import URL, Connection, Table, func, inspect, select

from core.domain.ids import new_id
from core.errors import TagfleetError
from web_tier.catalog.database import migrate
from web_tier.catalog.move_mark import (
    CatalogMoved,
    Mark,
    Role,
    forget_copied,
    read_copied,
    with_role,
    write_copied,
    write_mark,
)
from web_tier.catalog.schema_revision import check_revision
from web_tier.catalog.upkeep.rows import Checksum, Replaced, Row, key_names, summed, tables_in_order, without_nul
from web_tier.catalog.upkeep.side import RowRefused, Side
from web_tier.catalog.upkeep.sides import mark_of, side_of

_REPORT_EVERY = 5_000
_MAY_BE_LOST = ("samples",)
"""A process that was started with an empty catalogue by mistake leaves rows in these tables."""


class Progress(Protocol):
    """Is told how far a move has got."""

    def begin(self, rows: int) -> None:
        """The copy begins; `rows` rows are copied, and then verified."""

    def advance(self, table: str, phase: str, rows: int) -> None:
        """`rows` more rows were copied or verified."""


@dataclass(frozen=True, slots=True)
class MovedTable:
    """A table that source and target have alike."""

    name: str
    rows: int
    digest: str
    copied_before: bool


@dataclass(frozen=True, slots=True)
class Moved:
    """A finished move. `replaced` rows had a text with NUL."""

    source: str
    target: str
    tables: list[MovedTable]
    replaced: int


def move(source: URL, target: URL, now: Callable[[], float], progress: Progress) -> Moved:
    """Move the catalogue at `source` to `target`, or finish a move that ended early.

    Raises Unavailable if one of the databases is away or full: a repeated call continues. Raises CatalogMoved if the
    source was moved before, TagfleetError if the target is in use, or cannot store a row.
    """
    sides = side_of(source), side_of(target)
    try:
        return _Move(*sides, source, target, now, progress).run()
    finally:
        for side in sides:
            side.close()


class _Move:
    def __init__(
        self, source: Side, target: Side, source_url: URL, target_url: URL, now: Callable[[], float], progress: Progress
    ) -> None:
        self._source = source
        self._target = target
        self._urls = source_url, target_url
        self._now = now
        self._progress = progress
        self._replaced = Replaced()

    def run(self) -> Moved:
        mark = self._mark_source()
        if mark.role is Role.LEFT:
            return self._arrive(mark, self._remembered())
        self._mark_target(mark)
        reason = f"it is being moved to {self._target.place}; try again when that is done"
        with self._source.paused(reason) as connection:
            self._refuse_orphans(connection)
            rows = sum(_count(connection, table) for table in tables_in_order())
            self._progress.begin(rows)
            tables = [self._move_table(connection, table) for table in tables_in_order()]
            self._target.finish()
            write_mark(connection, left := with_role(mark, Role.LEFT, self._now()))
        return self._arrive(left, tables)

    def _mark_source(self) -> Mark:
        """Return the mark of the source: leaving, or left if only the last step of this move is missing."""
        place = self._source.place
        if not self._source.exists():
            raise TagfleetError(f"catalogue {place}: there is no catalogue that could be moved")
        before = mark_of(self._source)
        if before is not None and before.role is Role.LEFT and self._is_last_step(before):
            return before
        if before is not None and before.role in (Role.LEFT, Role.ARRIVING):
            raise CatalogMoved(f"catalogue {place}: {before.explain()}")
        migrate(self._urls[0])
        with self._source.reading() as connection:
            check_revision(connection, place)
        mark = Mark(Role.LEAVING, new_id("mov", self._now()), self._target.place, self._now())
        if before is not None:
            leaving = before.role is Role.LEAVING
            mark = Mark(
                Role.LEAVING,
                before.move if leaving else mark.move,
                mark.other,
                mark.at,
                before.earlier if leaving else before.lineage,
            )
        with self._source.writing() as connection:
            write_mark(connection, mark)
        return mark

    def _is_last_step(self, left: Mark) -> bool:
        there = mark_of(self._target)
        return (
            left.other == self._target.place
            and there is not None
            and there.role is Role.ARRIVING
            and there.move == left.move
        )

    def _mark_target(self, mark: Mark) -> None:
        """Take the target for this move. Raises TagfleetError if it has the data of another catalogue."""
        there = mark_of(self._target)
        continues = there is not None and there.role is Role.ARRIVING and there.move == mark.move
        if not continues:
            self._refuse_if_in_use(there, mark)
        migrate(self._urls[1], for_move=True)
        with self._target.reading() as connection:
            check_revision(connection, self._target.place)
        with self._target.writing() as connection:
            write_mark(connection, Mark(Role.ARRIVING, mark.move, self._source.place, self._now(), mark.earlier))
            if not continues:
                forget_copied(connection)
        self._target.prepare()

    def _refuse_if_in_use(self, there: Mark | None, mark: Mark) -> None:
        place = self._target.place
        if there is not None and there.move == mark.move:
            raise TagfleetError(f"catalogue {place}: it is the catalogue that is to be moved; name another place")
        if there is not None and there.role is Role.ARRIVING:
            raise TagfleetError(
                f"catalogue {place}: it holds an unfinished move from {there.other}; "
                "finish that one, or empty the database"
            )
        if there is not None and there.role is Role.LEFT and there.move in mark.earlier:
            return  # what it has went to the source, by this or several moves
        if self._target.exists() and (table := self._filled_table()):
            raise TagfleetError(
                f"catalogue {place}: its table {table} has rows, and they are not from this move; "
                "name an empty database, or empty this one"
            )

    def _filled_table(self) -> str:
        """Return the name of a table of the target that has rows; empty if none has."""
        with self._target.reading() as connection:
            there = set(inspect(connection).get_table_names())
            for table in tables_in_order():
                lost = table.name in _MAY_BE_LOST or table.name not in there
                if not lost and connection.execute(select(1).select_from(table).limit(1)).first():
                    return table.name
        return ""

    def _refuse_orphans(self, connection: Connection) -> None:
        """Raise TagfleetError if the source has rows that break a foreign key of the target."""
        for orphans in self._source.orphans(connection):
            raise TagfleetError(
                f"catalogue {self._source.place}: {orphans.rows:,} rows of {orphans.table} belong to a row of "
                f"{orphans.owner} that is missing; `tagfleet catalog check --repair` deletes them"
            )

    def _move_table(self, connection: Connection, table: Table) -> MovedTable:
        expected = Checksum()
        with self._target.reading() as target:
            before = read_copied(target, table.name)
        if before:
            self._drain(table, "checked", self._rows(connection, table, expected))
        copied_before = bool(before) and str(expected) == before
        if not copied_before:
            expected = Checksum()
            with self._target.writing() as target:
                write_copied(target, table.name, "")
            self._load(connection, table, expected)
        found = Checksum()
        with self._target.reading() as target:
            self._drain(table, "verified", summed(self._target.read(target, table, ordered=False), found))
        if found != expected:
            raise TagfleetError(
                f"the copy of table {table.name} differs: {expected.rows:,} rows with checksum {expected.digest} in "
                f"{self._source.place}, {found.rows:,} with {found.digest} in {self._target.place}. "
                "Was it changed meanwhile? Run the same command again"
            )
        with self._target.writing() as target:
            write_copied(target, table.name, str(found))
        return MovedTable(table.name, found.rows, found.digest, copied_before)

    def _load(self, connection: Connection, table: Table, expected: Checksum) -> None:
        try:
            self._target.load(table, self._told(table, "copied", self._rows(connection, table, expected)))
        except RowRefused as error:
            raise TagfleetError(
                f"catalogue {self._target.place}: table {table.name} cannot store the row "
                f"{self._key_of_row(connection, table, error.number)}: {error}. Correct or delete that row in "
                f"{self._source.place}, and run the same command again"
            ) from error

    def _rows(self, connection: Connection, table: Table, checksum: Checksum) -> Iterator[Row]:
        """Yield the source's rows as the target will have them, in the order of their keys."""
        rows = self._source.read(connection, table, ordered=True)
        if self._source.keeps_nul and not self._target.keeps_nul:
            rows = without_nul(rows, self._replaced)
        return summed(rows, checksum)

    def _key_of_row(self, connection: Connection, table: Table, number: int | None) -> str:
        if number is None:
            return "(which one is not known)"
        row = next(islice(self._source.read(connection, table, ordered=True), number - 1, None))
        names = list(table.columns.keys())
        return " and ".join(f"{name} = {row[names.index(name)]!r}"[:120] for name in key_names(table))

    def _drain(self, table: Table, phase: str, rows: Iterable[Row]) -> None:
        for _ in self._told(table, phase, rows):
            pass

    def _told(self, table: Table, phase: str, rows: Iterable[Row]) -> Iterator[Row]:
        """Yield the rows, and tell the progress of them."""
        untold = 0
        for row in rows:
            yield row
            untold += 1
            if untold == _REPORT_EVERY:
                self._progress.advance(table.name, phase, untold)
                untold = 0
        self._progress.advance(table.name, phase, untold)

    def _arrive(self, left: Mark, tables: list[MovedTable]) -> Moved:
        """Let the target be used: the last step."""
        with self._target.writing() as connection:
            write_mark(connection, Mark(Role.ARRIVED, left.move, self._source.place, self._now(), left.earlier))
            forget_copied(connection)
        return Moved(self._source.place, self._target.place, tables, self._replaced.rows)

    def _remembered(self) -> list[MovedTable]:
        """Return the tables that the target remembers."""
        found = []
        with self._target.reading() as connection:
            for table in tables_in_order():
                rows, digest = read_copied(connection, table.name).split()
                found.append(MovedTable(table.name, int(rows), digest, copied_before=True))
        return found


def _count(connection: Connection, table: Table) -> int:
    return connection.execute(select(func.count()).select_from(table)).scalar_one()
