"""Tags of a catalogue that an earlier version filled are counted in the background."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from tests.clock import Clock
from tests.unit.web_tier.catalog.counted import Counted, quick
from web_tier.catalog.counting import check_counts
from web_tier.catalog.database import Database, catalog_url, migrate
from web_tier.catalog.placing import Placing
from web_tier.catalog.tag_list import TagCount
from web_tier.catalog.tag_rows import has_unplaced
from web_tier.services.lifecycle import Housekeeping

MANY = 1200
_OLD_ROWS = """INSERT INTO tags (image_id, key, name, confidence, source)
    SELECT id, 'dog', 'Dog', 0.5, 'model' FROM images"""
_OLD_CHANGES = "UPDATE batches SET counted = 0"


@pytest.fixture
def world(cataloged) -> Iterator[Counted]:
    """A catalogue as the migration leaves it: more images than a portion, in a large and in a small batch."""
    migrate(catalog_url(cataloged))
    database = Database(catalog_url(cataloged))
    world = Counted(database)
    world.upload(0, MANY - 3)
    world.upload(1, 3)
    with database.writing() as connection:
        connection.execute(text(_OLD_ROWS))
        connection.execute(text(_OLD_CHANGES))
    yield world
    database.close()


def unplaced(world: Counted) -> bool:
    with world.database.reading() as connection:
        return has_unplaced(connection)


def test_the_tags_are_right_before_during_and_after_and_the_log_says_so_once(world):
    placing = Placing(world.placing, lambda: 0.0, quick)
    with capture_logs() as logs:
        while True:
            assert world.tags.tags("", 9) == [TagCount("Dog", MANY)]
            assert world.tags.tags("d", 9, world.batches[1]) == [TagCount("Dog", 3)]
            if not placing.work(threading.Event()):
                break
        assert not placing.work(threading.Event())
    assert not unplaced(world)
    assert world.placing.miscounted(10) == []
    assert check_counts(world.database) == []
    said = [entry["event"] for entry in logs]
    assert said == [
        "counting the tags of an earlier version; searches are slower until that is done",
        "counted the tags of an earlier version",
    ]
    assert logs[-1]["images"] == MANY


def test_a_stop_is_obeyed_after_a_group(world):
    stop = threading.Event()
    stop.set()
    assert Placing(world.placing, lambda: 0.0, quick).work(stop)
    assert unplaced(world)


def test_what_the_previous_version_changes_later_is_found_within_half_a_minute(world):
    clock = Clock()
    placing = Placing(world.placing, clock, quick)
    while placing.work(threading.Event()):
        continue
    world.old_write({0}, [])
    clock.now += 29
    placing.work(threading.Event())
    assert world.placing.miscounted(10) == [world.batches[1]]
    clock.now += 1
    placing.work(threading.Event())
    assert world.placing.miscounted(10) == []
    assert world.tags.tags("", 9) == [TagCount("Dog", MANY - 1)]


def test_the_collector_s_housekeeping_does_it(web, world):
    house = Housekeeping(web.backend.store, world.life, web.settings.collector, web.clock)
    assert house.finish(threading.Event())
    assert not house.finish(threading.Event())
    assert not unplaced(world)
