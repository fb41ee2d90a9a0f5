"""Reads take as many steps in a large batch as in a small one, however its tags and statuses are distributed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest
from sqlalchemy import URL, Connection, Engine, event, insert, text

from tests.unit.web_tier.catalog.random_catalog import Picture, store
from web_tier.catalog.database import Database, migrate
from web_tier.catalog.result_queries import Order, Place, ResultQueries, Wanted
from web_tier.catalog.tables import batches
from web_tier.catalog.tag_rows import TagFilter
from web_tier.catalog.tags import TagCatalog

_SMALL, _LARGE = 1000, 30_000
_EVERY = 100
"""SQLite reports its steps by so many."""
DOGS = ("beagle", "basset", "collie", "pug", "boxer", "papillon")


@contextmanager
def counted_steps() -> Iterator[list[int]]:
    """Count the steps of SQLite's virtual machine in the block."""
    counted = [0]

    def count() -> None:
        counted[0] += _EVERY

    def watch(connection, *_of_the_statement) -> None:
        connection.connection.driver_connection.set_progress_handler(count, _EVERY)

    event.listen(Engine, "before_cursor_execute", watch)
    try:
        yield counted
    finally:
        event.remove(Engine, "before_cursor_execute", watch)


def picture(at: int, number: int) -> Picture:
    """Return image `at` of `number`: what is rare or sure comes late, as in photos of last year."""
    late = at >= number - number // 10
    rows: list[tuple[str, float | None, str]] = [("common", 0.5, "model"), (DOGS[at % len(DOGS)], 0.4, "model")]
    rows += [("late", 0.95, "model")] * late
    return Picture(f"img_{at:06}", "bat_closed", at, at, "failed" if late else "succeeded", rows)


@pytest.fixture(scope="module")
def catalogues(tmp_path_factory) -> Iterator[Sequence[Database]]:
    made = []
    for number in (_SMALL, _LARGE):
        url = URL.create("sqlite", database=str(tmp_path_factory.mktemp("bounded") / "catalog.db"))
        migrate(url)
        made.append(Database(url))
        with made[-1].writing(durable=False) as connection:
            store(connection, [picture(at, number) for at in range(number)])
    yield made
    for database in made:
        database.close()


ORDERS: list[Order] = ["upload", "latest", "surest", "unsure"]
READS = {
    **{f"all by {order}": (Wanted(order=order), None) for order in ORDERS},
    "from the middle": (Wanted(), Place(500)),
    "a status of late images": (Wanted(("failed",)), None),
    "a status of none": (Wanted(("cancelled",)), None),
    "a common tag": (Wanted(None, TagFilter("common")), None),
    "a tag of late images": (Wanted(None, TagFilter("late")), None),
    "a tag of none": (Wanted(None, TagFilter("none")), None),
    "a sure tag of late images": (Wanted(None, TagFilter("late", None, 0.9)), None),
    "a kind": (Wanted(None, TagFilter("dog")), None),
    "a prefix": (Wanted(None, TagFilter(None, "b")), None),
    "a prefix of late images": (Wanted(None, TagFilter(None, "la")), None),
    "sure late images": (Wanted(None, TagFilter(None, None, 0.9)), None),
    "images above all confidences": (Wanted(None, TagFilter(None, None, 0.99)), None),
    "images of any confidence": (Wanted(None, TagFilter(None, None, 0.0)), None),
}


@pytest.mark.parametrize("read", READS)
def test_a_page_of_results_takes_no_more_steps_in_a_large_batch(catalogues, read):
    wanted, after = READS[read]
    few, many = _steps(catalogues, lambda database: ResultQueries(database).page("bat_closed", wanted, 100, after))
    assert many <= 3 * max(few, 5000)


@pytest.mark.parametrize(
    "wanted", [TagFilter("common"), TagFilter("late"), TagFilter("none"), TagFilter("dog"), TagFilter(None, "b")]
)
def test_a_search_takes_no_more_steps_in_a_large_catalogue(catalogues, wanted):
    few, many = _steps(catalogues, lambda database: TagCatalog(database).search(wanted, 100))
    assert many <= 3 * max(few, 5000)


def _steps(catalogues: Sequence[Database], read: Callable[[Database], object]) -> list[int]:
    counts = []
    for database in catalogues:
        with counted_steps() as counted:
            read(database)
        counts.append(counted[0])
    return counts


def test_postgresql_uses_no_wrong_index_however_few_images_it_expects(postgresql):
    """One batch of 20,000 among 5,000 of none: on average a batch has four images, which it could as well read."""
    server, empty = postgresql
    with server.database(like=empty) as url:
        database = Database(url)
        with database.writing() as connection:
            store(connection, [picture(at, 20_000) for at in range(20_000)])
            plain = {"pool": "p", "options": {}, "metadata": {}, "payload_hash": "", "created_at": 1.0}
            plain |= {"changed_at": 1.0, "change": 0, "total": 0, "completed": 0, "failed": 0}
            connection.execute(insert(batches), [plain | {"id": f"bat_{at}"} for at in range(5000)])
        with database.writing() as connection:
            connection.execute(text("ANALYZE"))
        for name, (wanted, after) in READS.items():
            with database.reading() as connection:
                queries = ResultQueries(OneConnection(connection))
                for _ in range(12):  # from the eleventh time on, plans are those for any parameters
                    before = _rows_read(connection)
                    queries.page("bat_closed", wanted, 100, after)
                    assert _rows_read(connection) - before <= 5000, name
        database.close()


class OneConnection:
    """A database whose reads share one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        yield self._connection

    def fetch(self, query, parameters=None):
        return self._connection.execute(query, parameters).all()


def _rows_read(connection: Connection) -> int:
    rows = "SELECT sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)) FROM pg_stat_xact_user_tables"
    return int(connection.execute(text(rows)).scalar_one())
