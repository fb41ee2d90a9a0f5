"""A filled catalogue has exactly the rows that the product writes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, create_engine, select

from bench.catalogs import rows
from bench.catalogs.filling import fill_catalogue
from bench.catalogs.plan import PlannedBatch, PlannedImage, largest, plan_batches, plan_catalogue
from tests.postgresql import Server, running
from web_tier.catalog import tables
from web_tier.catalog.batches import Batch, Upload
from web_tier.catalog.database import Database, migrate
from web_tier.catalog.feedback import FeedbackCatalog
from web_tier.catalog.lifecycle import LifecycleCatalog
from web_tier.catalog.pace import Pace
from web_tier.catalog.removal import RemovalCatalog
from web_tier.catalog.results import ImageOutcome, ResultCatalog
from web_tier.catalog.tags import Edit, TagCatalog

NOW = 1_750_000_000.0
IMAGES = 600


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running(os.environ) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def catalogues(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[URL, URL]]:
    """Two migrated, empty catalogues."""
    if request.param == "sqlite":
        urls = [URL.create("sqlite", database=str(tmp_path / f"{name}.db")) for name in ("filled", "recorded")]
        for url in urls:
            migrate(url)
        yield urls[0], urls[1]
        return
    server = request.getfixturevalue("server")
    with server.database() as filled, server.database() as recorded:
        migrate(filled)
        migrate(recorded)
        yield filled, recorded


def content(url: URL) -> dict[str, list[tuple[Any, ...]]]:
    """Return the rows of the tables by table, without the numbers that a database gives its rows."""
    database = Database(url)
    found: dict[str, list[tuple[Any, ...]]] = {}
    with database.reading() as connection:
        for table in (tables.batches, tables.images, tables.tags, tables.verdicts, tables.tag_counts):
            columns = [column for column in table.columns if (table.name, column.name) != ("verdicts", "id")]
            found[table.name] = sorted((tuple(row) for row in connection.execute(select(*columns))), key=repr)
    database.close()
    return found


def record(url: URL, plan: Iterable[tuple[PlannedBatch, Sequence[PlannedImage]]]) -> None:
    """Let the product write what is planned."""
    database = Database(url)
    for batch, images in plan:
        _upload(ResultCatalog(database), batch, images)
        for image in images[: batch.done]:
            at = batch.recorded_at(image.position)
            ResultCatalog(database).record([_outcome(batch, image)], at)
            if image.edit is not None:
                edit = Edit(image.edit.id, [image.edit.decision], image.edit.feedback)
                TagCatalog(database).edit(batch.id, [image.id], edit, at)
        if batch.kind == "cancelled":
            _cancel(LifecycleCatalog(database), batch)
        if batch.kind == "deleted":
            _delete(database, batch, images)
    feedback = FeedbackCatalog(database)
    feedback.mark_published(feedback.unpublished(10_000))
    database.close()


def _upload(catalog: ResultCatalog, batch: PlannedBatch, images: Sequence[PlannedImage]) -> None:
    catalog.create_batch(
        Batch(batch.id, rows.POOL, {}, {}, batch.created_at, None, None, 0, 0, 0, 0), payload_hash=rows.PAYLOAD_HASH
    )
    for image in images:
        upload = Upload(image.id, image.name, image.sha256, image.bytes)
        catalog.add_images(batch.id, [upload], batch.accepted_at(image.position))
    catalog.mark_sent([image.id for image in images])
    catalog.close_batch(batch.id, batch.closed_at)


def _outcome(batch: PlannedBatch, image: PlannedImage) -> ImageOutcome:
    failed = batch.has("failed", image.position)
    return ImageOutcome(
        batch_id=batch.id,
        image_id=image.id,
        name=image.name,
        error=rows.ERROR if failed else None,
        tags=[] if failed else image.said,
        caption=None,
        timings=json.loads(image.timings),
        tagger=rows.TAGGER,
        finished_at=batch.recorded_at(image.position),
        width=None if failed else image.size[0],
        height=None if failed else image.size[1],
    )


def _cancel(catalog: LifecycleCatalog, batch: PlannedBatch) -> None:
    catalog.cancel(batch.id, rows.cancelled_at(batch))
    catalog.cancel_some(batch.id, [id_ for id_, _ in catalog.waiting_after(batch.id, 0, batch.total)], Pace())
    catalog.end_cancelled(batch.id)


def _delete(database: Database, batch: PlannedBatch, images: Sequence[PlannedImage]) -> None:
    at = rows.deleted_at(batch)
    LifecycleCatalog(database).delete(batch.id, at)
    catalog = RemovalCatalog(database)
    catalog.remove(batch.id, [image.id for image in images], Pace())
    assert catalog.mark_cleared(batch.id, at)
    catalog.mark_swept(batch.id, at)


def test_a_filled_catalogue_has_the_rows_that_the_product_writes(catalogues):
    filled, recorded = catalogues
    plan = [(batch, list(images)) for batch, images in plan_catalogue(IMAGES, NOW)]
    assert {batch.kind for batch, _ in plan} == {"done", "in_progress", "cancelled", "deleted"}
    assert {image.edit.feedback for _, images in plan for image in images if image.edit} == {"add", "reject"}
    assert any(batch.failed for batch, _ in plan)
    fill_catalogue(filled, iter(plan))
    record(recorded, plan)
    one, other = content(filled), content(recorded)
    for table in other:
        assert one[table] == other[table], table


def test_a_filled_catalogue_has_the_indexes_of_an_empty_one(catalogues):
    filled, empty = catalogues
    fill_catalogue(filled, plan_catalogue(50, NOW))
    assert _schema(filled) == _schema(empty)


def _schema(url: URL) -> list[Any]:
    statements = {
        "sqlite": ["SELECT sql FROM sqlite_master"],
        "postgresql": [
            "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'",
            "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint",
        ],
    }
    engine = create_engine(url)
    with engine.connect() as connection:
        of_kind = statements[engine.dialect.name]
        found = [sorted(map(repr, connection.exec_driver_sql(statement))) for statement in of_kind]
    engine.dispose()
    return found


@pytest.mark.parametrize("images", [1, 7, 100, 10_000, 1_000_000, 2_000_000])
def test_a_plan_has_as_many_images_as_asked_for(images):
    batches = list(plan_batches(images, NOW))
    assert sum(batch.total for batch in batches if batch.kind != "deleted") == images
    assert max(batch.total for batch in batches) == largest(images)
    assert all(one.created_at < other.created_at for one, other in pairwise(batches))
    assert len({batch.id for batch in batches}) == len(batches)
