"""A catalogue is moved from SQLite to PostgreSQL and back: nothing is lost, and only one of the two is in use."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable, Iterator
from itertools import count

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from hypothesis import given, strategies
from sqlalchemy import URL, create_engine, func, insert, select, update

from core.errors import TagfleetError, Unavailable
from tests.unit.web_tier.catalog.in_child import in_child
from tests.unit.web_tier.catalog.upkeep.contents import change, content, fill
from web_tier.catalog.database import Database, migrate
from web_tier.catalog.move_mark import CatalogMoved
from web_tier.catalog.tables import batches, images, metadata, tags, verdicts
from web_tier.catalog.upkeep import move as moving
from web_tier.catalog.upkeep.postgresql_side import PostgresqlSide
from web_tier.catalog.upkeep.rows import Checksum, summed
from web_tier.catalog.upkeep.sqlite_side import SqliteSide
from web_tier.catalog.upkeep.undo import undo

KINDS = ["sqlite", "postgresql"]


class Silent:
    """Progress that nobody sees."""

    def begin(self, rows: int) -> None: ...

    def advance(self, table: str, phase: str, rows: int) -> None: ...


class Acting(Silent):
    """Calls `act` when so many rows were copied or verified."""

    def __init__(self, at: int, act: Callable[[], object]) -> None:
        self.left = at
        self.act = act

    def advance(self, table: str, phase: str, rows: int) -> None:
        if 0 < self.left <= rows:
            self.act()
        self.left -= rows


def move(source: URL, target: URL, progress: Silent | None = None) -> moving.Moved:
    return moving.move(source, target, lambda: 1e9, progress or Silent())


@pytest.fixture(autouse=True)
def often(monkeypatch) -> None:
    monkeypatch.setattr(moving, "_REPORT_EVERY", 1)


@pytest.fixture
def place(tmp_path, postgresql) -> Iterator[Callable[[str], URL]]:
    """Make places for catalogues: files that do not exist, and empty databases."""
    server, _ = postgresql
    made, numbers = [], count()

    def make(kind: str) -> URL:
        if kind == "sqlite":
            return URL.create("sqlite", database=str(tmp_path / f"home{next(numbers)}" / "catalog.db"))
        database = server.database()
        made.append(database)
        return database.__enter__()

    yield make
    for database in made:
        database.__exit__(None, None, None)


@pytest.fixture(params=[("sqlite", "postgresql"), ("postgresql", "sqlite")], ids=lambda kinds: f"from {kinds[0]}")
def ends(request, place) -> tuple[URL, URL]:
    """A filled catalogue, and an empty place for it in the other kind of database."""
    source, target = map(place, request.param)
    fill(source)
    return source, target


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("first", KINDS)
def test_every_row_is_the_same_there_and_back(place, first, seed):
    there, back = (place(kind) for kind in (KINDS[first == "sqlite"], first))
    fill(source := place(first), seed)
    before = content(source)
    moved = move(source, there)
    assert content(there) == before
    assert sum(table.rows for table in moved.tables) == sum(map(len, before.values()))
    move(there, back)
    assert content(back) == before
    for url in (there, back):
        engine = create_engine(url)
        with engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": False})
            found = [each for each in compare_metadata(context, metadata) if each[0] != "remove_table"]
            keys = {key["referred_table"] for key in sa.inspect(connection).get_foreign_keys("tags")}
        engine.dispose()
        assert found == []
        assert keys == {"images"}


def test_a_key_that_the_database_counts_continues_above_the_highest(ends):
    source, target = ends
    move(source, target)
    values = {"edit_id": "e", "image_id": content(target)["images"][0][0], "name": "n", "wanted": True, "created_at": 1}
    database = Database(target)
    with database.writing() as connection:
        highest = connection.execute(select(func.max(verdicts.c.id))).scalar_one()
        connection.execute(insert(verdicts).values(values))
        assert connection.execute(select(func.max(verdicts.c.id))).scalar_one() == highest + 1
    database.close()


def test_deleting_an_image_still_deletes_its_tags(ends):
    source, target = ends
    move(source, target)
    database = Database(target)
    with database.writing() as connection:
        connection.execute(sa.delete(images))
        assert connection.execute(select(func.count()).select_from(tags)).scalar_one() == 0
    database.close()


def test_after_the_move_all_who_use_the_old_one_are_told_the_new_one(ends):
    source, target = ends
    database = Database(source)
    before = content(source)
    place = move(source, target.set(username="postgres", password="hunter2") if target.host else target).target
    for use in (
        lambda: migrate(source),
        database.check,
        lambda: write(database, insert(batches).values(content_row(source))),
        lambda: write(database, update(batches).values(pool="other")),
        lambda: write(database, sa.delete(tags)),
    ):
        with pytest.raises(CatalogMoved, match="it was moved to ") as refused:
            use()
        assert place in str(refused.value)
        assert "\n" not in str(refused.value)
        assert "hunter2" not in str(refused.value)
    assert database.health.trouble == "its database was moved"
    with database.reading() as connection:
        assert connection.execute(select(batches)).all()
    database.close()
    assert content(source) == before


def content_row(url: URL) -> dict:
    row = dict(zip(batches.columns.keys(), content(url)["batches"][0], strict=True))
    return row | {"id": "bat_new", "idempotency_key": None}


def write(database: Database, statement: sa.Executable) -> None:
    with database.writing() as connection:
        connection.execute(statement)


def test_work_that_shares_a_transaction_is_told_too(ends):
    source, target = ends
    database = Database(source)
    move(source, target)
    with pytest.raises(Unavailable, match="it was moved to "):
        database.write(lambda connection: connection.execute(sa.delete(tags)))
    database.close()


def test_a_move_back_replaces_what_was_left_there(ends):
    source, target = ends
    move(source, target)
    change(target, "UPDATE images SET name = 'later'")
    change(target, "DELETE FROM verdicts")
    later = content(target)
    move(target, source)
    assert content(source) == later
    migrate(source)
    with pytest.raises(CatalogMoved, match="it was moved to "):
        migrate(target)
    move(source, target)
    assert content(target) == later


def test_a_move_over_a_third_place_may_return_to_the_first(place):
    first, second, third = place("sqlite"), place("postgresql"), place("sqlite")
    fill(first)
    move(first, second)
    move(second, third)
    change(third, "UPDATE images SET name = 'later'")
    move(third, first)
    assert content(first) == content(third)
    undo(second)
    with pytest.raises(TagfleetError, match="has rows, and they are not from this move"):
        move(first, second)


def test_a_move_can_be_undone(ends):
    source, target = ends
    before = content(source)
    other = move(source, target).target
    assert undo(source) == other
    migrate(source)
    change(source, "UPDATE images SET name = 'again'")
    assert content(source) != before
    with pytest.raises(TagfleetError, match="it was not moved"):
        undo(source)
    with pytest.raises(TagfleetError, match="not from this move"):
        move(source, target)


@pytest.mark.parametrize("kind", KINDS)
def test_a_target_in_use_is_left_alone(ends, place, kind):
    source, _ = ends
    fill(used := place(kind), seed=7)
    before = content(used)
    with pytest.raises(
        TagfleetError, match="its table batches has rows, and they are not from this move; name an empty"
    ):
        move(source, used)
    assert content(used) == before
    migrate(used)


@pytest.mark.parametrize("kind", KINDS)
def test_a_target_that_a_service_was_started_with_by_mistake_is_taken(ends, place, kind):
    source, _ = ends
    migrate(started := place(kind))
    change(started, "INSERT INTO samples (slot, at, sample) VALUES (999, 1.0, '{}')")
    move(source, started)
    assert content(started) == content(source)


@pytest.mark.parametrize("kind", KINDS)
def test_a_catalogue_is_not_moved_into_itself(place, kind):
    fill(url := place(kind))
    before = content(url)
    again = url.set(query=dict(url.query) | {"application_name": "other"}) if kind == "postgresql" else url
    with pytest.raises(TagfleetError, match="it is the catalogue that is to be moved"):
        move(url, again)
    assert content(url) == before


def test_nothing_to_move_is_said(place):
    with pytest.raises(TagfleetError, match="there is no catalogue that could be moved"):
        move(place("sqlite"), place("postgresql"))


def test_a_kill_at_any_row_loses_nothing_and_the_same_move_continues(ends):
    source, target = ends
    rows = 2 * sum(map(len, content(source).values()))
    kept = 0
    for at in range(5, rows, rows // 6):
        assert in_child(lambda at=at: move(source, target, Acting(at, die))) == -signal.SIGKILL
        change(source, f"UPDATE images SET name = 'changed at {at}'")  # the service goes on
        with pytest.raises(CatalogMoved, match=r"a move from .* into it is not finished; run `tagfleet catalog move`"):
            migrate(target)
    change(source, "DELETE FROM verdicts WHERE id > 5")
    change(source, "DELETE FROM tags")
    moved = move(source, target)
    kept = sum(table.copied_before for table in moved.tables)
    assert kept > 2
    assert content(target) == content(source)
    migrate(target)


def test_a_kill_after_the_source_was_left_needs_only_the_last_step(ends, monkeypatch):
    source, target = ends
    with monkeypatch.context() as patch:
        patch.setattr(moving._Move, "_arrive", lambda *_: die())
        assert in_child(lambda: move(source, target)) == -signal.SIGKILL
    for url in ends:
        with pytest.raises(CatalogMoved):
            migrate(url)
    before = content(source)
    moved = move(source, target)
    assert [table.rows for table in moved.tables if table.name == "images"] == [len(before["images"])]
    migrate(target)
    assert content(target) == before


def test_a_target_of_an_unfinished_move_takes_no_other_catalogue(ends, place):
    source, target = ends
    in_child(lambda: move(source, target, Acting(20, die)))
    fill(other := place("sqlite"), seed=3)
    with pytest.raises(TagfleetError, match="it holds an unfinished move from "):
        move(other, target)
    with pytest.raises(CatalogMoved, match=r"a move from .* into it is not finished"):
        move(target, other)


def test_a_target_that_was_changed_behind_the_move_is_found(ends, monkeypatch):
    source, target = ends

    def load(side, table, rows) -> None:
        loaded(side, table, rows)
        change(target, "UPDATE images SET name = 'tampered'")

    with monkeypatch.context() as patch:
        kind = SqliteSide if target.drivername == "sqlite" else PostgresqlSide
        loaded = kind.load
        patch.setattr(kind, "load", load)
        with pytest.raises(TagfleetError, match="the copy of table images differs: 12 rows with checksum "):
            move(source, target)
    move(source, target)
    assert content(target) == content(source)


def test_a_full_disk_of_postgresql_is_a_sentence_and_the_same_move_continues(place):
    fill(source := place("sqlite"))
    migrate(target := place("postgresql"))
    change(
        target,
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$"
        "BEGIN RAISE EXCEPTION 'no space' USING ERRCODE = '53100'; END $$",
    )
    change(target, "CREATE TRIGGER full_disk AFTER INSERT ON images EXECUTE FUNCTION full_disk()")
    with pytest.raises(Unavailable, match=r"catalogue postgresql://.*: its disk is full; free some space"):
        move(source, target)
    migrate(source)
    change(target, "DROP FUNCTION full_disk CASCADE")
    move(source, target)
    assert content(target) == content(source)


def test_a_full_disk_of_sqlite_is_a_sentence_and_the_same_move_continues(place, tmp_path):
    fill(source := place("postgresql"), rows=300)
    target = place("sqlite")

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (250_000, resource.RLIM_INFINITY))
        with pytest.raises(Unavailable) as refused:
            move(source, target)
        (tmp_path / "said").write_text(str(refused.value))

    assert in_child(limited) == 0
    assert (tmp_path / "said").read_text().startswith(f"catalogue {target.database}: the disk ")
    move(source, target)
    assert content(target) == content(source)


REFUSED = {
    "UPDATE images SET width = 3000000000 WHERE id = 'id_007'": "id = 'id_007': value \"3000000000\" is out of range",
    "UPDATE images SET tags = '[NaN]' WHERE id = 'id_003'": "id = 'id_003': invalid input syntax for type json",
    "UPDATE tags SET confidence = 'much' WHERE key = 'key_002'": "key = 'key_002': invalid input syntax for type",
}


@pytest.mark.parametrize("statement", REFUSED)
def test_a_row_that_postgresql_refuses_is_named(place, statement):
    fill(source := place("sqlite"))
    change(source, statement)
    with pytest.raises(TagfleetError) as refused:
        move(source, place("postgresql"))
    assert REFUSED[statement] in str(refused.value)
    assert "Correct or delete that row in /" in str(refused.value)


def test_a_row_that_sqlite_refuses_is_named(place):
    fill(source := place("postgresql"))
    change(source, "UPDATE images SET created_at = 'NaN' WHERE id = 'id_005'")
    with pytest.raises(TagfleetError, match=r"row id = 'id_005': NOT NULL constraint failed: images\.created_at"):
        move(source, place("sqlite"))


def test_a_row_without_its_owner_is_told_before_anything_is_copied(place):
    fill(source := place("sqlite"))
    change(source, "UPDATE tags SET image_id = 'gone' WHERE key = 'key_002'")
    with pytest.raises(TagfleetError, match=r"1 rows of tags belong to a row of images that is missing; `tagfleet"):
        move(source, place("postgresql"))


def test_a_column_that_is_missing_is_not_copied_as_its_name(place):
    fill(source := place("sqlite"))
    change(source, "ALTER TABLE batches DROP COLUMN counted")
    with pytest.raises(Unavailable, match=r"table batches: no such column: batches\.counted"):
        move(source, place("sqlite"))


def test_nul_becomes_the_replacement_character_as_in_all_of_postgresql(place):
    fill(source := place("sqlite"))
    change(source, "UPDATE images SET name = 'a' || char(0) || 'b' WHERE id IN ('id_001', 'id_002')")
    moved = move(source, target := place("postgresql"))
    assert moved.replaced == 2
    assert [row[4] for row in content(target)["images"][1:3]] == ["a\ufffdb"] * 2


@given(strategies.lists(strategies.tuples(strategies.text(), strategies.floats(allow_nan=False)), unique=True))
def test_a_checksum_depends_on_each_row_and_not_on_their_order(rows):
    one, other, less = Checksum(), Checksum(), Checksum()
    assert list(summed(rows, one)) == rows
    list(summed(reversed(rows), other))
    assert one == other
    list(summed(rows[1:], less))
    assert (less == one) == (not rows)
