"""Change numbers, counters and ends of batches."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from web_tier.catalog import changes
from web_tier.catalog.changes import Counts
from web_tier.catalog.tables import batches, images


@pytest.fixture
def batch(web) -> str:
    return web.batch()


def read(web, batch: str, *names: str) -> tuple:
    with web.catalog.database.reading() as connection:
        columns = [batches.c[name] for name in names]
        return tuple(connection.execute(select(*columns).where(batches.c.id == batch)).one())


def advance(web, batch: str, now: float = 1.0, **wanted) -> range:
    with web.catalog.database.writing() as connection:
        return changes.advance(connection, batch, now, **wanted)


def close(web, batch: str, now: float) -> bool:
    with web.catalog.database.writing() as connection:
        return changes.close(connection, now, batches.c.id == batch)


def test_numbers_are_given_out_without_gaps(web, batch):
    first = advance(web, batch, by=3)
    assert len(first) == 3
    assert advance(web, batch).start == first.stop
    assert read(web, batch, "change") == (first.stop,)


def test_counts_are_added(web, batch):
    advance(web, batch, counts=Counts(total=5, completed=3, failed=1, cancelled=1))
    advance(web, batch, counts=Counts(total=1, completed=-1, failed=-1))
    assert read(web, batch, "total", "completed", "failed", "cancelled") == (6, 2, 0, 1)


def test_a_batch_is_completed_once_it_is_closed_and_nothing_waits(web, batch):
    advance(web, batch, counts=Counts(total=2, completed=1))
    assert close(web, batch, 2.0)
    assert not close(web, batch, 3.0), "it is closed"
    assert read(web, batch, "closed_at", "completed_at") == (2.0, None)
    advance(web, batch, 4.0, counts=Counts(completed=1))
    advance(web, batch, 5.0)
    assert read(web, batch, "completed_at", "changed_at") == (4.0, 5.0)


def test_an_open_batch_is_never_completed(web, batch):
    advance(web, batch, counts=Counts(total=1, completed=1))
    assert read(web, batch, "completed_at") == (None,)
    close(web, batch, 2.0)
    assert read(web, batch, "completed_at") == (2.0,)


def test_a_batch_is_incomplete_while_images_wait_again(web, batch):
    advance(web, batch, counts=Counts(total=1, completed=1, failed=1))
    close(web, batch, 2.0)
    advance(web, batch, 3.0, counts=Counts(completed=-1, failed=-1))
    assert read(web, batch, "completed_at") == (None,)
    advance(web, batch, 4.0, counts=Counts(completed=1))
    assert read(web, batch, "completed_at") == (4.0,)


def test_a_cancelled_batch_completes_only_when_told(web, batch):
    advance(web, batch, counts=Counts(total=1))
    advance(web, batch, 2.0, closed_at=2.0, cancelled_at=2.0, completed_at=None)
    advance(web, batch, 3.0, counts=Counts(completed=1, cancelled=1))
    assert read(web, batch, "completed_at") == (None,)
    advance(web, batch, 3.0, completed_at=2.0)
    assert read(web, batch, "completed_at") == (2.0,)


def test_images_take_the_numbers_that_follow(web, batch):
    ids = [item["image_id"] for item in web.upload(batch, ("a.jpg", b"a"), ("b.jpg", b"b"), ("c.jpg", b"c"))]
    before = web.catalog.get_batch(batch).change
    with web.catalog.database.writing() as connection:
        count = changes.renumber(connection, before, images.c.id.in_(ids[1:]), {"status": "failed"})
        numbers = changes.advance(connection, batch, 1.0, by=count)
    assert [(image.id, image.change) for image in web.catalog.list_changes(batch, before, 10)] == [
        (ids[1], numbers[0]),
        (ids[2], numbers[1]),
    ]
