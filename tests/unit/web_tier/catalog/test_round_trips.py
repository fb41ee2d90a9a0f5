"""How often the catalogue's hot paths wait for PostgreSQL. Each round trip costs a read more than the query itself."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from sqlalchemy import event, select
from sqlalchemy.pool import Pool

from config.settings import Settings
from tests.clock import Clock
from tests.postgresql import Server
from tests.unit.web_tier.conftest import Web
from tests.unit.web_tier.placed import served
from web_tier.catalog.batches import Batch, Upload
from web_tier.catalog.database import Database
from web_tier.catalog.keys import KeyCatalog
from web_tier.catalog.results import ImageOutcome, ResultCatalog
from web_tier.catalog.tables import batches

_WARM = 8
"""psycopg prepares a statement when it is run for the sixth time, which is one round trip more."""


class RoundTrips:
    """Counts by libpq's own trace how often a server has become ready for the next statement."""

    def __init__(self) -> None:
        self._traces: list[tuple[Any, io.BufferedRandom]] = []

    def watch(self, connection: Any, _record: object) -> None:
        trace = tempfile.TemporaryFile()  # noqa: SIM115  # `close` closes it
        connection.pgconn.trace(trace.fileno())
        self._traces.append((connection, trace))

    def total(self) -> int:
        count = 0
        for _, trace in self._traces:
            trace.seek(0)
            count += trace.read().count(b"ReadyForQuery")
        return count

    def of(self, act: Callable[[], object], *, warm: int = _WARM) -> int:
        """Return the round trips of one call, after some that do not count."""
        for _ in range(warm):
            act()
        before = self.total()
        act()
        return self.total() - before

    def close(self) -> None:
        for connection, trace in self._traces:
            if not connection.closed:
                connection.pgconn.untrace()
            trace.close()


@pytest.fixture
def trips() -> Iterator[RoundTrips]:
    found = RoundTrips()
    event.listen(Pool, "connect", found.watch)
    yield found
    event.remove(Pool, "connect", found.watch)
    found.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def catalog(postgresql: tuple[Server, str], trips: RoundTrips, clock: Clock) -> Iterator[ResultCatalog]:
    server, empty = postgresql
    with ExitStack() as stack:
        database = Database(stack.enter_context(server.database(like=empty)), clock)
        stack.callback(database.close)
        yield ResultCatalog(database)


@pytest.fixture
def batch(catalog: ResultCatalog) -> Batch:
    batch = Batch("bat_1", "resnet50", {}, {}, 1.0, None, None, 0, 0, 0, 0, changed_at=1.0)
    catalog.create_batch(batch, payload_hash="")
    return batch


def uploads(first: int, count: int) -> list[Upload]:
    return [Upload(f"img_{n:06}", f"{n}.jpg", f"{n:064x}", 1) for n in range(first, first + count)]


def test_a_single_query_takes_one_round_trip(catalog, batch, trips):
    keys = KeyCatalog(catalog.database)
    _, secret = keys.create("a", ["read"], 1.0)
    for read in (
        lambda: catalog.get_batch(batch.id),
        lambda: catalog.read_change(batch.id),
        lambda: catalog.measure_rate(batch.id, 1.0),
        lambda: catalog.list_changes(batch.id, 0, 100),
        lambda: catalog.would_complete({batch.id: 1}),
        lambda: keys.find(secret),
        lambda: keys.find_by_session("none", 1.0),
    ):
        assert trips.of(read) == 1


def test_a_connection_that_was_idle_for_a_second_is_asked_before_a_query(catalog, batch, trips, clock):
    catalog.get_batch(batch.id)
    assert trips.of(lambda: catalog.get_batch(batch.id)) == 1
    clock.now += 1.0
    assert trips.of(lambda: catalog.get_batch(batch.id), warm=0) == 2
    assert trips.of(lambda: catalog.get_batch(batch.id), warm=0) == 1


def test_a_snapshot_of_several_queries_takes_two_round_trips_more(catalog, batch, trips):
    def read() -> None:
        with catalog.database.reading() as connection:
            connection.execute(select(batches.c.id)).all()
            connection.execute(select(batches.c.pool)).all()

    assert trips.of(read) == 4


def test_to_add_images_takes_as_many_round_trips_for_one_as_for_many(catalog, batch, trips):
    numbers = iter(range(0, 10_000, 50))
    for count in (1, 50):
        assert trips.of(lambda: catalog.add_images(batch.id, uploads(next(numbers), count), 2.0)) == 6  # noqa: B023
    assert trips.of(lambda: catalog.mark_sent([f"img_{number:06}" for number in range(50)])) == 3


def test_to_record_results_takes_as_many_round_trips_for_one_as_for_many(catalog, batch, trips):
    shown = [{"name": name, "confidence": 0.5, "source": "model"} for name in ("Dog", "Cat", "Fish")]
    catalog.add_images(batch.id, uploads(0, 1000), 2.0)

    def outcome(number: int) -> ImageOutcome:
        return ImageOutcome(batch.id, f"img_{number:06}", "a.jpg", None, shown, None, None, "bench@1", 3.0)

    numbers = iter(range(0, 1000, 50))
    for count in (1, 50):

        def record() -> int:
            first = next(numbers)
            return catalog.record([outcome(first + n) for n in range(count)], 3.0).new  # noqa: B023

        assert trips.of(record) == 10
    assert catalog.get_batch(batch.id).completed == 9 + 9 * 50


@pytest.fixture
def web(postgresql: tuple[Server, str], trips: RoundTrips, settings: Settings) -> Iterator[Web]:
    server, empty = postgresql
    with server.database(like=empty) as url, served(settings, url.render_as_string(hide_password=False)) as web:
        yield web


def test_a_batch_takes_one_query_and_one_for_its_rate_while_it_is_tagged(web, trips):
    batch = web.batch()
    web.upload(batch, ("a.jpg", b"a"), ("b.jpg", b"b"))
    web.get(f"/batches/{batch}")
    least = min(trips.of(lambda: web.get(f"/batches/{batch}"), warm=1) for _ in range(_WARM))
    assert least == 1
    web.finish(web.result_of(web.jobs()[0]))
    web.collect()
    least = min(trips.of(lambda: web.get(f"/batches/{batch}"), warm=1) for _ in range(_WARM))
    assert least == 2
