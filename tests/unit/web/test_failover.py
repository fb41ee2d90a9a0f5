"""A failover of PostgreSQL whose old primary lives on as a standby, behind one TCP address; and lost COMMITs."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from config.settings import Settings
from core.errors import Unavailable
from core.wiring import Backend
from tests.forwarder import Forwarder, Loss
from tests.postgresql import Node, Server, replicated
from tests.unit.web.conftest import Clock, Web
from web_tier.app import create_app
from web_tier.catalog_results import ResultCatalog
from web_tier.collector import Collector
from web_tier.database import Database, catalog_url, migrate

PATIENCE_S = 120


def until(condition: Callable[[], object], what: str) -> None:
    """Wait for it; the limit is a net for a test that hangs."""
    late = threading.Event()
    net = threading.Timer(PATIENCE_S, late.set)
    net.start()
    try:
        while not condition():
            assert not late.is_set(), what
            late.wait(0.02)
    finally:
        net.cancel()


@contextmanager
def served(settings: Settings, url: str) -> Iterator[Web]:
    """The service over the catalogue at `url`."""
    placed = settings.model_copy(update={"web": settings.web.model_copy(update={"catalog_url": url})})
    migrate(catalog_url(placed))
    backend, clock, database = Backend(placed), Clock(), Database(catalog_url(placed))
    catalog = ResultCatalog(database)
    app = create_app(backend, placed, clock)
    yield Web(
        settings=placed,
        backend=backend,
        clock=clock,
        client=app.test_client(),
        collector=Collector(backend, catalog, placed, clock),
        catalog=catalog,
    )
    app.extensions["tagfleet"].database.close()
    database.close()


@dataclass
class Site:
    """A service whose catalogue is behind a TCP address, and the two servers that may be there."""

    web: Web
    address: Forwarder
    old: Node
    new: Node

    def fail_over(self) -> None:
        """The standby takes over, the old primary is a standby from then on; the address still leads to the old one."""
        self.new.promote()
        self.old.demote()

    def answers(self) -> int:
        return self.web.client.post("/api/v1/batches", json={}).status_code


@pytest.fixture
def site(settings: Settings) -> Iterator[Site]:
    with replicated(os.environ) as (old, new), Forwarder(old.port) as address:
        url = f"postgresql://postgres@127.0.0.1:{address.port}/postgres"
        with served(settings, url) as web:
            yield Site(web, address, old, new)


@dataclass
class Uploader:
    """Uploads photos one by one, each until it is accepted."""

    site: Site
    batch: str
    name: str
    stop: threading.Event
    accepted: list[str] = field(default_factory=list)
    refusals: list[Any] = field(default_factory=list)

    def run(self) -> None:
        client = self.site.web.client.application.test_client()
        for number in range(1 << 20):
            name = f"{self.name}-{number}.jpg"
            body, kind = self.site.web.multipart([(name, name.encode())])
            while True:
                answer = client.post(f"/api/v1/batches/{self.batch}/images", data=body, content_type=kind)
                if answer.status_code == 201:
                    break
                self.refusals.append(answer)
                if self.stop.wait(0.05):
                    return
            self.accepted.append(name)
            if self.stop.is_set():
                return


def names_in(site: Site, batch: str) -> list[str]:
    return [image.name for image in site.web.catalog.results(batch, 100_000)]


def test_after_a_failover_all_writes_succeed_although_the_old_primary_lives(site):
    """Uploads go on all the while; what was accepted is there once."""
    batch, stop = site.web.batch(), threading.Event()
    uploaders = [Uploader(site, batch, f"u{number}", stop) for number in range(4)]
    threads = [threading.Thread(target=uploader.run) for uploader in uploaders]
    for thread in threads:
        thread.start()
    try:
        until(lambda: all(len(uploader.accepted) >= 5 for uploader in uploaders), "nothing is accepted")
        site.fail_over()
        seen = len(uploaders[0].refusals)
        until(lambda: all(len(one.refusals) > seen + 3 for one in uploaders), "a standby takes writes")
        ready = site.web.client.get("/readyz")
        assert ready.status_code == 503
        assert "catalogue" in ready.json["detail"]
        assert "read only" in ready.json["detail"]
        health = site.web.client.get("/healthz")
        assert (health.status_code, health.json["status"]) == (200, "degraded")
        assert health.json["catalogue"] == "its database takes no writes"
        site.address.target = site.new.port  # for new connections; those there are still lead to the old one
        before = [len(one.accepted) for one in uploaders]
        until(
            lambda: all(len(one.accepted) > had + 20 for one, had in zip(uploaders, before, strict=True)),
            "writes go on failing",
        )
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    refused = len(uploaders[0].refusals)
    assert [site.answers() for _ in range(20)] == [201] * 20  # whichever connection of the pool it is
    assert len(uploaders[0].refusals) == refused
    assert site.old.ask("SELECT pg_is_in_recovery()")
    for uploader in uploaders:
        for refusal in uploader.refusals:
            assert refusal.status_code == 503, refusal.text
            assert refusal.headers["Retry-After"]
    accepted = sorted(name for uploader in uploaders for name in uploader.accepted)
    found = sorted(names_in(site, batch))
    assert len(found) == len(set(found))
    assert set(accepted) <= set(found)
    assert site.web.get(f"/batches/{batch}")["request_counts"]["total"] == len(found)
    assert site.web.client.get("/readyz").status_code == 200
    assert site.web.client.get("/healthz").json == {"status": "ok"}


def test_the_collector_keeps_what_it_has_in_hand_through_a_failover(site):
    batch = site.web.batch()
    site.web.upload(batch, *((f"{number}.jpg", b"%d" % number) for number in range(30)))
    site.web.close(batch)
    site.web.finish(*map(site.web.result_of, site.web.jobs()))
    stop = threading.Event()
    site.fail_over()
    collecting = threading.Thread(target=site.web.collector.run, args=(stop,))
    collecting.start()
    try:
        until(lambda: site.web.backend.results.depth().in_flight, "no result is received")
        site.address.target = site.new.port
        until(lambda: site.web.get(f"/batches/{batch}")["status"] == "completed", "results stay away")
    finally:
        stop.set()
        collecting.join()
    counts = site.web.get(f"/batches/{batch}")["request_counts"]
    assert (counts["total"], counts["completed"], counts["failed"]) == (30, 30, 0)


def test_pooled_connections_to_a_server_that_is_fenced_off_are_replaced(site):
    """It is no standby: somebody set it to read only, and its connections live on."""
    assert site.answers() == 201
    site.new.promote()
    site.old.say("ALTER SYSTEM SET default_transaction_read_only = on")
    site.old.say("SELECT pg_reload_conf()")
    until(lambda: site.old.ask("SHOW default_transaction_read_only") == "on", "the server keeps its settings")
    until(lambda: site.answers() == 503, "a server that is set to read only takes writes")
    assert site.web.client.get("/api/v1/batches").status_code == 200  # it can be read
    site.address.target = site.new.port
    assert [site.answers() for _ in range(20)] == [201] * 20


def test_of_two_hosts_in_the_url_the_one_that_takes_writes_is_found(site, settings):
    ports = (site.new.port, site.old.port)
    hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
    query = "&".join(f"host=127.0.0.1:{port}" for port in ports)
    for url in (f"postgresql://postgres@{hosts}/postgres", f"postgresql://postgres@/postgres?{query}"):
        with served(settings, url) as web:
            assert web.batch()
    with served(settings, f"postgresql://postgres@{hosts}/postgres") as web:
        assert web.batch()
        site.fail_over()
        assert [web.client.post("/api/v1/batches", json={}).status_code for _ in range(20)].count(201) >= 19
        assert [web.client.post("/api/v1/batches", json={}).status_code for _ in range(20)] == [201] * 20


def test_a_standby_alone_is_named_as_one(site, settings):
    url = f"postgresql://postgres:secret@127.0.0.1:{site.new.port}/postgres"
    with pytest.raises(Unavailable, match="read only: a standby") as refused, served(settings, url):
        pass
    assert "secret" not in str(refused.value)


@pytest.fixture
def cut(postgresql: tuple[Server, str], settings: Settings) -> Iterator[tuple[Web, Forwarder]]:
    """A service whose connections to its catalogue can be cut."""
    server, empty = postgresql
    with (
        server.database(like=empty) as url,
        Forwarder(str(server.folder / ".s.PGSQL.5432")) as address,
        served(settings, f"postgresql://postgres@127.0.0.1:{address.port}/{url.database}") as web,
    ):
        yield web, address


def test_a_read_that_loses_its_connection_is_answered_all_the_same(cut):
    web, address = cut
    batch = web.batch()
    address.cut_on = b"FROM batches"
    assert [found["id"] for found in web.get("/batches")["batches"]] == [batch]
    assert address.cut_on is None


def test_a_write_that_loses_its_connection_is_refused_and_leaves_nothing(cut):
    web, address = cut
    address.cut_on = b"INSERT INTO batches"
    answer = web.client.post("/api/v1/batches", json={})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert "not known" not in answer.json["detail"]
    assert web.get("/batches")["batches"] == []
    assert web.batch()


def test_a_lost_commit_is_said_to_be_unknown(cut):
    web, address = cut
    web.batch()  # a first connection may have transactions of its own
    address.lose_commit(1, Loss.AFTER)
    answer = web.client.post("/api/v1/batches", json={})
    assert answer.status_code == 503
    assert "Whether the last change was kept is not known" in answer.json["detail"]
    assert len(web.get("/batches")["batches"]) == 2


def test_health_recovers_without_a_request_that_writes(cut, postgresql):
    web, address = cut
    there, address.target = address.target, "/nowhere"
    address.cut()
    assert web.client.get("/api/v1/batches").status_code == 503
    health = web.client.get("/healthz")
    assert (health.status_code, health.json["status"]) == (200, "degraded")
    address.target = there
    until(lambda: web.client.get("/healthz").json == {"status": "ok"}, "health never hears of it")


class Story:
    """What clients and a collector do to one batch, each step until it is answered; and what has become of it."""

    def __init__(self, web: Web) -> None:
        self._web = web
        self.lost = 0

    def _call(self, method: str, path: str, **arguments: Any) -> Any:
        while (answer := self._web.client.open(f"/api/v1{path}", method=method, **arguments)).status_code == 503:
            assert answer.headers["Retry-After"]
            self.lost += 1
        assert answer.status_code < 300, answer.text
        return answer.json

    def _insist(self, step: Callable[[], object]) -> None:
        while True:
            try:
                step()
            except Unavailable:
                self.lost += 1
            else:
                return

    def tell(self) -> dict[str, Any]:
        key = {"Idempotency-Key": "story"}
        batch = self._call("POST", "/batches", json={}, headers=key)["id"]
        body, kind = self._web.multipart([("a.jpg", b"a"), ("b.jpg", b"b"), ("c.jpg", b""), ("d.jpg", b"d")])
        images = self._call("POST", f"/batches/{batch}/images", data=body, content_type=kind)["images"]
        self._call("POST", f"/batches/{batch}/close")
        self._web.clock.now += 60
        self._insist(self._web.collector.sweep)  # sends what an upload was kept from sending
        jobs = {job.name: job for job in self._web.jobs()}
        failed = self._web.result_of(jobs["b.jpg"], error="it is damaged")
        self._web.finish(*(failed if name == "b.jpg" else self._web.result_of(job) for name, job in jobs.items()))
        self._insist(self._web.collect)
        edit = {"add": ["mine"]}
        self._call("PATCH", f"/images/{images[0]['image_id']}/tags", json=edit)
        self._call("POST", f"/batches/{batch}/retry")
        self._web.clock.now += 60
        self._insist(self._web.collector.sweep)
        self._web.finish(*map(self._web.result_of, self._web.jobs()))
        self._insist(self._web.collect)
        self._insist(self._web.collector.sweep)
        told = self._web.get(f"/batches/{batch}")
        results = self._web.get(f"/batches/{batch}/results")["results"]
        return {
            "status": told["status"],
            "counts": told["request_counts"],
            "batches": len(self._web.get("/batches")["batches"]),
            "images": [(r["name"], r["status"], [tag["name"] for tag in r["tags"]]) for r in results],
            "waiting": self._web.backend.jobs(self._web.settings.default_pool).depth().outstanding,
        }


@pytest.mark.parametrize("loss", list(Loss))
def test_a_commit_that_is_lost_doubles_nothing(postgresql, settings, tmp_path, loss):
    """Every COMMIT of a story in its turn: before the server hears of it, or after it was done."""
    server, empty = postgresql
    with Forwarder(str(server.folder / ".s.PGSQL.5432")) as address:

        def told(number: int) -> tuple[dict[str, Any], int, int]:
            home = settings.model_copy(update={"home": tmp_path / f"home{number}"})
            with server.database(like=empty) as url:
                place = f"postgresql://postgres@127.0.0.1:{address.port}/{url.database}"
                with served(home, place) as web:
                    before = address.commits
                    if number:
                        address.lose_commit(number, loss)
                    story = Story(web)
                    return story.tell(), address.commits - before, story.lost

        expected, commits, lost = told(0)
        assert expected["counts"] == {"total": 4, "completed": 4, "failed": 1, "cancelled": 0}
        assert (expected["batches"], expected["status"], lost) == (1, "completed", 0)
        assert commits > 8
        for number in range(1, commits + 1):
            found, _, lost = told(number)
            assert found == expected, f"COMMIT {number}"
            assert lost <= 1
