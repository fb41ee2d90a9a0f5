"""A migration that is killed, or that fills the disk, leaves the catalogue as it was: the next start migrates it."""

from __future__ import annotations

import os
import resource
import signal

import pytest
import sqlalchemy as sa
from alembic import command
from sqlalchemy import URL, Engine, create_engine, event

from core.errors import Unavailable
from tests.unit.web_tier.catalog.in_child import in_child
from tests.unit.web_tier.catalog.upkeep.contents import fill
from web_tier.catalog.database import catalog_url, migrate
from web_tier.catalog.schema_revision import migration_config

REVISIONS = [f"{number:04}" for number in range(1, 10)]
"""Each earlier schema."""


def downgraded(url: URL, revision: str) -> None:
    """Make a filled catalogue of an earlier version."""
    fill(url, largest=2**31 - 1)  # earlier schemas have 32 bits
    engine = create_engine(url)
    config = migration_config()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, revision)
    engine.dispose()


def everything(url: URL) -> dict[str, object]:
    """Return the tables with their columns, indexes and rows."""
    engine = create_engine(url)
    with engine.connect() as connection:
        found = sa.inspect(connection)
        names = sorted(found.get_table_names())
        rows = {name: sorted(map(repr, connection.exec_driver_sql(f'SELECT * FROM "{name}"').all())) for name in names}
        indexes = {name: sorted(str(index["name"]) for index in found.get_indexes(name)) for name in names}
        columns = {name: [column["name"] for column in found.get_columns(name)] for name in names}
    engine.dispose()
    return {"rows": rows, "indexes": indexes, "columns": columns}


def migrate_and_die(url: URL, at: int) -> None:
    """Kill this process before the statement of this number."""
    left = at

    def count(*_: object) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(Engine, "before_cursor_execute", count)
    migrate(url)


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_kill_in_any_part_of_a_migration_changes_nothing(cataloged, revision):
    url = catalog_url(cataloged)
    downgraded(url, revision)
    before = everything(url)
    kills = 0
    for at in (4, 9, 15, 40):
        ended = in_child(lambda at=at: migrate_and_die(url, at))
        if ended == 0:
            break
        assert ended == -signal.SIGKILL
        kills += 1
        assert everything(url) == before
    assert kills > 1
    migrate(url)
    after = everything(url)
    assert after["rows"]["alembic_version"] == ["('0010',)"]
    for table, columns in before["columns"].items():
        assert set(columns) <= set(after["columns"][table])
        assert len(after["rows"][table]) == len(before["rows"][table])
    command_again = everything(url)
    migrate(url)
    assert everything(url) == command_again


def test_a_full_disk_in_a_migration_is_a_sentence_and_the_next_start_continues(settings, tmp_path):
    """By a limit on the size of files, which is how a full disk looks to SQLite."""
    url = catalog_url(settings)
    downgraded(url, "0002")
    before = everything(url)
    size = (settings.home / "catalog.db").stat().st_size

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, resource.RLIM_INFINITY))
        with pytest.raises(Unavailable) as refused:
            migrate(url)
        (tmp_path / "said").write_text(str(refused.value))

    assert in_child(limited) == 0
    assert (tmp_path / "said").read_text().startswith(f"catalogue {url.database}: the disk ")
    assert everything(url) == before
    migrate(url)
    assert everything(url)["rows"]["alembic_version"] == ["('0010',)"]


def test_a_full_disk_of_postgresql_in_a_migration_is_a_sentence(cataloged):
    if not cataloged.web.catalog_url:
        pytest.skip("SQLite's disk has a test of its own")
    url = catalog_url(cataloged)
    downgraded(url, "0002")
    before = everything(url)
    full = (
        "CREATE FUNCTION full_disk() RETURNS event_trigger LANGUAGE plpgsql AS $$"
        "BEGIN RAISE EXCEPTION 'no space' USING ERRCODE = '53100'; END $$",
        "CREATE EVENT TRIGGER full_disk ON ddl_command_end WHEN TAG IN ('CREATE INDEX') EXECUTE FUNCTION full_disk()",
    )
    engine = create_engine(url)
    with engine.begin() as connection:
        for statement in full:
            connection.exec_driver_sql(statement)
    with pytest.raises(Unavailable, match="its disk is full; free some space"):
        migrate(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP EVENT TRIGGER full_disk")
        connection.exec_driver_sql("DROP FUNCTION full_disk")
    engine.dispose()
    assert everything(url) == before
    migrate(url)
    assert everything(url)["rows"]["alembic_version"] == ["('0010',)"]
