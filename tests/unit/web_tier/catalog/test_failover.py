"""A failover of PostgreSQL, behind one TCP address, whose old primary lives on as a standby."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import func, make_url, select

from config.settings import Settings
from core.errors import Unavailable
from tests.forwarder import Forwarder
from tests.postgresql import Node, replicated
from tests.unit.web_tier.conftest import Web
from tests.unit.web_tier.placed import served, until
from web_tier.catalog.database import Database
from web_tier.catalog.tables import samples


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
    return [image.name for image in site.web.catalog.list_results(batch, 100_000)]


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


def test_a_query_leaves_a_fenced_server_without_asking_it(site):
    """The server reports with the rows that it is read only, so none of its rows are used."""
    database = Database(make_url(f"postgresql+psycopg://postgres@127.0.0.1:{site.address.port}/postgres"), lambda: 0.0)
    count = select(func.count()).select_from(samples)
    assert [database.fetch(count)[0][0] for _ in range(3)] == [0] * 3
    site.new.promote()
    site.old.say("ALTER SYSTEM SET default_transaction_read_only = on")
    site.old.say("SELECT pg_reload_conf()")
    until(lambda: site.old.ask("SHOW default_transaction_read_only") == "on", "the server keeps its settings")
    site.address.target = site.new.port
    site.new.say("INSERT INTO samples (slot, at, sample) VALUES (1, 1.0, '{}')")
    assert [database.fetch(count)[0][0] for _ in range(3)] == [1] * 3
    database.close()


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
