"""Two web hosts over one catalogue: numbers, counts and locks are right while both write at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import pytest
from sqlalchemy import select

from tests.unit.web_tier.processes import served
from web_tier.app import create_app
from web_tier.catalog.batches import Batch, Upload
from web_tier.catalog.database import Database, catalog_url
from web_tier.catalog.edits import TagDecision
from web_tier.catalog.feedback import FeedbackCatalog
from web_tier.catalog.results import ImageOutcome, ResultCatalog
from web_tier.catalog.tables import images
from web_tier.catalog.tags import Edit, TagCatalog

_IMAGES = 60


@pytest.fixture
def hosts(cataloged, web) -> Iterator[tuple[ResultCatalog, ResultCatalog]]:
    """The catalogue as two processes have it: each with connections of its own."""
    databases = [Database(catalog_url(cataloged)) for _ in range(2)]
    yield ResultCatalog(databases[0]), ResultCatalog(databases[1])
    for database in databases:
        database.close()


def outcome(batch_id: str, image_id: str) -> ImageOutcome:
    values = {"batch_id": batch_id, "image_id": image_id, "name": "n", "error": None, "tags": [], "caption": None}
    return ImageOutcome(**values, timings=None, tagger="t", finished_at=1.0)


def together(*work: Callable[[], None]) -> None:
    """Run all of it at once; the first that fails fails this."""
    start = threading.Barrier(len(work))

    def begin(one: Callable[[], None]) -> None:
        start.wait()
        one()

    with ThreadPoolExecutor(len(work)) as pool:
        for done in [pool.submit(begin, one) for one in work]:
            done.result()


def batch_of(web, name: str) -> str:
    made = Batch(id=name, pool="p", options={}, metadata={}, created_at=0.0, **_NOTHING)
    return web.catalog.create_batch(made, payload_hash="")[0].id


_NOTHING = {"closed_at": None, "completed_at": None, "change": 0, "total": 0, "completed": 0, "failed": 0}


def test_a_reader_misses_no_change_while_two_hosts_write(web, hosts):
    """Numbers become visible in their order: what a reader was told is all there is up to the last number it saw."""
    first, second = hosts
    batch = batch_of(web, "bat")
    done = threading.Event()
    told: dict[str, int] = {}

    def write(catalog: ResultCatalog, name: str) -> None:
        for number in range(_IMAGES):
            id_ = f"{name}{number:03}"
            catalog.add_images(batch, [Upload(id_, id_, id_, 1)], 0.0)
            catalog.mark_sent([id_])
            catalog.record([outcome(batch, id_)], 1.0)

    def read() -> None:
        after = 0
        while True:
            last_look = done.is_set()
            for image in web.catalog.list_changes(batch, after, 7):
                assert image.change > after
                after = image.change
                told[image.id] = image.change
            if last_look and not web.catalog.list_changes(batch, after, 1):
                return

    def write_both() -> None:
        try:
            together(lambda: write(first, "a"), lambda: write(second, "b"))
        finally:
            done.set()

    together(write_both, read)
    final = {image.id: image.change for image in web.catalog.list_changes(batch, 0, 1000)}
    assert told == final
    assert len(set(final.values())) == 2 * _IMAGES
    end = web.catalog.get_batch(batch)
    assert (end.total, end.completed, end.change) == (2 * _IMAGES, 2 * _IMAGES, 4 * _IMAGES)


@pytest.mark.parametrize("round_", range(5))
def test_hosts_that_touch_the_same_images_in_other_orders_do_not_block_each_other(web, hosts, round_):
    first, second = hosts
    ids = []
    for batch in ("bat1", "bat2"):
        batch_of(web, batch)
        ids += [f"{batch}-{number:03}" for number in range(100)]
        web.catalog.add_images(batch, [Upload(id_, id_, id_, 1) for id_ in ids if id_.startswith(batch)], 0.0)

    def record() -> None:
        first.record([outcome(id_[:4], id_) for id_ in ids[::-1]], 1.0)

    def close() -> None:
        second.close_batch("bat2", 2.0)
        second.close_batch("bat1", 2.0)

    together(record, lambda: second.mark_sent(ids), close, record)
    for batch in ("bat1", "bat2"):
        assert web.catalog.get_batch(batch).status == "completed"
        assert web.catalog.get_batch(batch).completed == 100


@pytest.mark.parametrize("cataloged", ["postgresql"], indirect=True)
def test_marking_jobs_as_sent_waits_for_nobody(web, hosts):
    """It locks no batch, so the transaction that has locked one of its images may wait for another of them."""
    batch = batch_of(web, "bat")
    web.catalog.add_images(batch, [Upload(id_, id_, id_, 1) for id_ in ("img1", "img2", "img3")], 0.0)
    with hosts[0].database.writing() as connection:
        connection.execute(select(images.c.id).where(images.c.id == "img2").with_for_update())
        hosts[1].mark_sent(["img1", "img2", "img3"])
    assert [image.status for image in web.catalog.list_results(batch, 10)] == ["queued", "received", "queued"]
    assert [image.id for _, image in web.catalog.unsent(1.0, 10)] == ["img2"]


@pytest.mark.parametrize("round_", range(3))
def test_feedback_is_marked_while_results_come_again(web, hosts, round_):
    ids = [f"img{number:03}" for number in range(200)]
    batch = batch_of(web, "bat")
    web.catalog.add_images(batch, [Upload(id_, id_, id_, 1) for id_ in ids], 0.0)
    web.catalog.record([outcome(batch, id_) for id_ in ids], 1.0)
    edit = Edit("edit", [TagDecision("Dog", True)])
    TagCatalog(web.catalog.database).edit(batch, ids, edit, 2.0)
    first, second = (FeedbackCatalog(host.database) for host in hosts)
    published = first.unpublished(1000)
    assert [one.image_id for one in published] == ids
    together(
        lambda: hosts[0].record([outcome(batch, id_) for id_ in ids[::-1]], 3.0),
        lambda: first.mark_published(published[::-1]),
        lambda: second.mark_published(published),
        second.mark_all_unpublished,
    )
    first.mark_published(published)
    assert not first.unpublished(1000)


def test_the_same_idempotency_key_on_two_hosts_makes_one_batch(web, hosts):
    made: list[str] = []

    def create(catalog: ResultCatalog, name: str) -> None:
        batch = Batch(id=name, pool="p", options={}, metadata={}, created_at=0.0, **_NOTHING)
        made.append(catalog.create_batch(batch, payload_hash="h", idempotency_key="k")[0].id)

    together(lambda: create(hosts[0], "bat_a"), lambda: create(hosts[1], "bat_b"))
    assert len(set(made)) == 1
    assert len(web.catalog.list_batches(10)) == 1


@pytest.fixture
def servers(cataloged) -> Iterator[list[httpx.Client]]:
    """Two processes that serve one home folder and one catalogue."""
    with ExitStack() as open_:
        urls = [open_.enter_context(served(cataloged)).url for _ in range(2)]
        yield [open_.enter_context(httpx.Client(base_url=url, timeout=60, trust_env=False)) for url in urls]


@pytest.mark.e2e
def test_two_processes_serve_any_batch(servers):
    first, second = servers
    batch = first.post("/api/v1/batches").json()["id"]
    for number, server in enumerate((first, second)):
        sent = server.post(f"/api/v1/batches/{batch}/images", files={"files": (f"{number}.jpg", b"%d" % number)})
        assert sent.status_code == 201
    both = [server.get(f"/api/v1/batches/{batch}/results").json() for server in servers]
    assert both[0] == both[1]
    assert [item["name"] for item in both[0]["results"]] == ["0.jpg", "1.jpg"]
    with second.stream("GET", f"/api/v1/batches/{batch}/events") as events:
        lines = events.iter_lines()
        first.post(f"/api/v1/batches/{batch}/cancel")
        assert any(line.startswith("data: ") and '"status":"cancelled"' in line for line in lines)


def test_what_one_host_takes_the_other_shows(web):
    other = create_app(web.backend, web.settings, web.clock)
    client = other.test_client()
    batch = web.batch()
    (image,) = web.upload(batch, ("a.jpg", b"one"))
    assert client.get(f"/api/v1/images/{image['image_id']}").json == image
    assert client.post(f"/api/v1/batches/{batch}/close").json["status"] == "queued"
    assert web.send(batch, ("b.jpg", b"two")).status_code == 409
    web.finish(*map(web.result_of, web.jobs()))
    web.collect()
    stream = client.get(f"/api/v1/batches/{batch}/events").text
    assert "event: completed" in stream
    assert image["image_id"] in stream
    other.extensions["tagfleet"].database.close()
