"""Connections to the catalogue that break during a read, a write or a COMMIT: nothing is lost or doubled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from config.settings import Settings
from core.errors import Unavailable
from tests.forwarder import Forwarder, Loss
from tests.postgresql import Server
from tests.unit.web_tier.conftest import Web
from tests.unit.web_tier.placed import served, until


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
    assert answer.json["type"] == "urn:tagfleet:outcome-unknown"
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
