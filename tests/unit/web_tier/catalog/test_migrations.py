"""Catalogues of earlier versions are migrated with all their content."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, create_engine, insert, select

import web_tier
from web_tier.catalog.database import Database, catalog_url, migrate
from web_tier.catalog.removal import RemovalBacklog, RemovalCatalog
from web_tier.catalog.tables import batches, images, metadata, tags, verdicts

_BATCH = {
    "id": "bat_1",
    "pool": "p",
    "options": {},
    "metadata": {},
    "payload_hash": "",
    "created_at": 1.0,
    "changed_at": 1.0,
    "change": 2,
    "total": 2,
    "completed": 2,
    "failed": 0,
}
_IMAGE = {
    "batch_id": "bat_1",
    "sha256": "0",
    "bytes": 1,
    "status": "succeeded",
    "provisional": False,
    "timings": None,
    "created_at": 1.0,
}


@pytest.fixture
def engine(cataloged) -> Iterator[Engine]:
    migrate(catalog_url(cataloged))
    engine = create_engine(catalog_url(cataloged))
    yield engine
    engine.dispose()


def run(step: Callable[[Config, str], None], revision: str, engine: Engine) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(web_tier.__file__).with_name("catalog") / "migrations"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        step(config, revision)


def test_migrations_lead_to_the_tables_that_the_code_has(engine):
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": False})
        assert compare_metadata(context, metadata) == []


def test_the_tags_of_an_earlier_catalogue_are_found(engine):
    run(command.downgrade, "0002", engine)
    assert "tags" not in sa.inspect(engine).get_table_names()
    said = [
        {"name": "Crane", "confidence": 0.9, "source": "model", "instances": []},
        {"name": "crane", "confidence": 0.1, "source": "model", "instances": []},
    ]
    with engine.begin() as connection:
        connection.execute(insert(batches).values(_BATCH))
        for number, shown in ((1, said), (2, [])):
            values = {"id": f"img_{number}", "name": str(number), "position": number, "change": number, "tags": shown}
            connection.execute(insert(images).values(_IMAGE | values))
    run(command.upgrade, "head", engine)
    with engine.connect() as connection:
        rows = connection.execute(select(tags)).all()
        kept = connection.execute(select(images.c.tags, images.c.edited, images.c.said).order_by(images.c.id)).all()
    assert [tuple(row) for row in rows] == [("img_1", "crane", "Crane", 0.9, "model", None, None)]
    assert [tuple(row) for row in kept] == [(said, False, None), ([], False, None)]


def test_files_that_were_refused_at_their_upload_are_known_to_have_no_bytes(engine):
    run(command.downgrade, "0001", engine)
    ends = {
        "img_refused": {"status": "failed", "tagger": None, "provisional": False},
        "img_failed": {"status": "failed", "tagger": "t@1", "provisional": False},
        "img_given_up": {"status": "failed", "tagger": None, "provisional": True},
        "img_waiting": {"status": "queued", "tagger": None, "provisional": False},
    }
    with engine.begin() as connection:
        connection.execute(insert(batches).values(_BATCH))
        for number, (id_, end) in enumerate(ends.items()):
            values = {"id": id_, "name": id_, "position": number, "change": number, "tags": []}
            connection.execute(insert(images).values(_IMAGE | values | end))
    run(command.upgrade, "head", engine)
    with engine.connect() as connection:
        rows = connection.execute(select(images.c.id, images.c.stored, images.c.attempt)).all()
    assert {row.id for row in rows if not row.stored} == {"img_refused"}
    assert {row.attempt for row in rows} == {0}


def test_what_people_decided_before_is_yet_to_be_told(engine):
    run(command.downgrade, "0006", engine)
    with engine.begin() as connection:
        connection.execute(insert(batches).values(_BATCH))
        for number in (1, 2, 3):
            values = {"id": f"img_{number}", "name": str(number), "position": number, "change": number, "tags": []}
            connection.execute(insert(images).values(_IMAGE | values))
        for image, undone_at in (("img_2", None), ("img_3", 5.0)):
            values = {"edit_id": image, "image_id": image, "name": "dog", "wanted": True, "created_at": 1.0}
            connection.execute(insert(verdicts).values(values | {"undone_at": undone_at}))
    run(command.upgrade, "head", engine)
    with engine.connect() as connection:
        rows = connection.execute(select(images.c.id, images.c.feedback).order_by(images.c.id)).all()
    assert [tuple(row) for row in rows] == [("img_1", None), ("img_2", 2), ("img_3", None)]


def test_what_an_earlier_version_deleted_has_nothing_left_but_leftovers(engine):
    run(command.downgrade, "0007", engine)
    old = sa.table("batches", *(sa.column(name) for name in (*_BATCH, "deleted_at")))
    with engine.begin() as connection:
        plain = {name: "{}" if value == {} else value for name, value in _BATCH.items()}
        connection.execute(insert(old).values(plain | {"id": "bat_gone", "deleted_at": 5.0}))
        connection.execute(insert(old).values(plain | {"id": "bat_there"}))
    run(command.upgrade, "head", engine)
    catalog = RemovalCatalog(database := Database(engine.url))
    assert catalog.unswept(10.0) == [("bat_gone", 5.0)]
    assert not catalog.is_uncleared("bat_gone")
    assert catalog.backlog() == RemovalBacklog(batches=1, images=0)
    database.close()


def test_a_downgrade_brings_no_image_of_a_deleted_batch_back(engine):
    with engine.begin() as connection:
        for batch, deleted_at in (("bat_gone", 5.0), ("bat_there", None)):
            connection.execute(insert(batches).values(_BATCH | {"id": batch, "deleted_at": deleted_at}))
            values = {"id": f"img_{batch}", "batch_id": batch, "name": "a", "position": 1, "change": 1, "tags": []}
            connection.execute(insert(images).values(_IMAGE | values))
    run(command.downgrade, "0007", engine)
    with engine.connect() as connection:
        assert connection.execute(select(images.c.id)).scalars().all() == ["img_bat_there"]
