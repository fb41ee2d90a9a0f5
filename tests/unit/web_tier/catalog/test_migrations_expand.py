"""Two versions share one catalogue: migrations only add, and the previous version's code keeps working."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.config import Config
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine

import web_tier
from core.errors import TagfleetError
from web_tier.catalog.database import catalog_url, migrate

LAST_OF_OLD_RULES = "0007"
"""Migrations after this one keep the rule, which is younger than those before."""
_WIDER = {
    ("INTEGER", "BIGINT"),
    ("SMALLINT", "INTEGER"),
    ("SMALLINT", "BIGINT"),
    ("REAL", "DOUBLE PRECISION"),
    ("FLOAT", "DOUBLE PRECISION"),
    ("DATE", "TIMESTAMP"),
}


def narrowed(before: sa.Inspector, after: sa.Inspector) -> list[str]:
    """Return what code that knows `before` can no longer do with `after`, one sentence each."""
    found = []
    left = set(after.get_table_names())
    for table in set(before.get_table_names()) - {"alembic_version"}:
        if table not in left:
            found.append(f"{table} is gone")
            continue
        old, new = _columns(before, table), _columns(after, table)
        for name, column in old.items():
            found += _of_column(f"{table}.{name}", column, new.get(name))
        for name in new.keys() - old.keys():
            if not new[name]["nullable"] and new[name]["default"] is None:
                found.append(f"{table}.{name} must be given")
        for what, rules in (("unique", _unique), ("foreign key", _foreign), ("check", _checks)):
            found += [f"{table}: a {what} is new: {rule}" for rule in rules(after, table) - rules(before, table)]
    return found


def _columns(inspector: sa.Inspector, table: str) -> dict[str, sa.engine.interfaces.ReflectedColumn]:
    return {column["name"]: column for column in inspector.get_columns(table)}


def _of_column(
    name: str, old: sa.engine.interfaces.ReflectedColumn, new: sa.engine.interfaces.ReflectedColumn | None
) -> Iterator[str]:
    if new is None:
        yield f"{name} is gone"
        return
    if old["nullable"] and not new["nullable"]:
        yield f"{name} must be given"
    if old["default"] is not None and new["default"] is None and not new["nullable"]:
        yield f"{name} has lost its default"
    was, becomes = str(old["type"]), str(new["type"])
    if was != becomes and (was, becomes) not in _WIDER and not (becomes == "TEXT" and was.startswith("VARCHAR")):
        yield f"{name} is {becomes} in place of {was}"


def _unique(inspector: sa.Inspector, table: str) -> set[str]:
    indexes = {str(each["column_names"]) for each in inspector.get_indexes(table) if each["unique"]}
    constraints = {str(each["column_names"]) for each in inspector.get_unique_constraints(table)}
    return indexes | constraints | {str(inspector.get_pk_constraint(table)["constrained_columns"])}


def _foreign(inspector: sa.Inspector, table: str) -> set[str]:
    return {f"{each['constrained_columns']} of {each['referred_table']}" for each in inspector.get_foreign_keys(table)}


def _checks(inspector: sa.Inspector, table: str) -> set[str]:
    return {str(each["sqltext"]) for each in inspector.get_check_constraints(table)}


@pytest.fixture
def engine(cataloged) -> Iterator[Engine]:
    engine = create_engine(catalog_url(cataloged))
    yield engine
    engine.dispose()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(web_tier.__file__).with_name("catalog") / "migrations"))
    return config


def _step(connection: Connection, upgrade: Callable[[], object]) -> list[str]:
    before = sa.inspect(connection)
    for table in before.get_table_names():  # now: an inspector reads when it is asked, and then remembers
        _columns(before, table), _unique(before, table), _foreign(before, table), _checks(before, table)
    with Operations.context(MigrationContext.configure(connection)):
        upgrade()
    return narrowed(before, sa.inspect(connection))


def test_every_migration_leaves_all_that_the_version_before_uses(cataloged, engine):
    from alembic import command

    revisions = [each.revision for each in reversed(list(ScriptDirectory.from_config(_config()).walk_revisions()))]
    migrate(catalog_url(cataloged))
    with engine.begin() as connection:
        config = _config()
        config.attributes["connection"] = connection
        command.downgrade(config, LAST_OF_OLD_RULES)
    for revision in revisions[revisions.index(LAST_OF_OLD_RULES) + 1 :]:
        with engine.begin() as connection:
            config = _config()
            config.attributes["connection"] = connection
            found = _step(connection, lambda: command.upgrade(config, revision))  # noqa: B023  # called at once
        breaking = int(revision) % 1000 == 0
        assert breaking or found == [], f"{revision} may not do this, or begins a generation: {found}"


def _ops() -> Operations:
    from alembic import op

    return op  # type: ignore[return-value]  # it stands for the operations of the context


BREAKING = {
    "samples is gone": lambda: _ops().drop_table("samples"),
    "images.origin is gone": lambda: _ops().drop_column("images", "origin"),
    "images.name is gone": lambda: _ops().alter_column("images", "name", new_column_name="title"),
    "batches.title must be given": lambda: _required_column(),
    "a unique is new": lambda: _ops().create_index("ix_new", "images", ["name"], unique=True),
}
ADDING = {
    "a column": lambda: _ops().add_column("images", sa.Column("version", sa.Text)),
    "a column with a default": lambda: _ops().add_column(
        "images", sa.Column("tries", sa.Integer, nullable=False, server_default="0")
    ),
    "a table": lambda: _ops().create_table("notes", sa.Column("id", sa.Text, primary_key=True)),
    "an index": lambda: _ops().create_index("ix_new", "images", ["name", "created_at"]),
}


def _required_column() -> None:
    """SQLite adds no column that must be given: the table is made anew."""
    with _ops().batch_alter_table("batches", recreate="auto") as table:
        table.add_column(sa.Column("title", sa.Text, nullable=False))


@pytest.mark.parametrize("what", BREAKING)
def test_what_would_break_the_version_before_is_found(cataloged, engine, what):
    migrate(catalog_url(cataloged))
    with engine.connect() as connection, connection.begin() as transaction:
        assert any(what in line for line in _step(connection, BREAKING[what]))
        transaction.rollback()


@pytest.mark.parametrize("what", ADDING)
def test_what_only_adds_is_allowed(cataloged, engine, what):
    migrate(catalog_url(cataloged))
    with engine.connect() as connection, connection.begin() as transaction:
        assert _step(connection, ADDING[what]) == []
        transaction.rollback()


def _newer(engine: Engine, revision: str) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = :number"), {"number": revision})


def test_code_goes_on_with_a_catalogue_that_a_newer_version_has_added_to(web, cataloged):
    """As on the host that is not replaced yet: it may start again, and takes photos meanwhile."""
    engine = create_engine(catalog_url(cataloged))
    with engine.begin() as connection, Operations.context(MigrationContext.configure(connection)):
        for add in ADDING.values():
            add()
    _newer(engine, "0999")
    migrate(catalog_url(cataloged))
    with engine.connect() as connection:
        assert MigrationContext.configure(connection).get_current_revision() == "0999"
    engine.dispose()
    batch = web.batch()
    web.upload(batch, ("cat.jpg", b"\xff\xd8\xff\xe0 a photo"))
    web.finish(*(web.result_of(job) for job in web.jobs()))
    assert web.collect() == 1


@pytest.mark.parametrize("revision", ["1000", "9999", "a1b2c3"])
def test_a_generation_that_this_version_does_not_know_is_refused_in_one_line(cataloged, engine, revision):
    migrate(catalog_url(cataloged))
    _newer(engine, revision)
    with pytest.raises(TagfleetError, match=rf"a newer version of Tagfleet wrote it \(revision {revision}") as caught:
        migrate(catalog_url(cataloged))
    assert "\n" not in str(caught.value)
