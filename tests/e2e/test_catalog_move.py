"""The catalogue moves to PostgreSQL and back while people upload, and no photo is lost or comes twice."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Callable, Iterator

import httpx
import pytest
from sqlalchemy import URL

from tagfleet.client import Batch, Client, Patience
from tests.postgresql import running
from web_tier.catalog.upkeep import move as moving

pytestmark = pytest.mark.e2e

PHOTOS = 60


@pytest.fixture
def postgresql_place() -> Iterator[URL]:
    """A new database, whose writers give up after a second."""
    with running(os.environ) as server, server.database() as url:
        yield url.update_query_dict({"options": "-c lock_timeout=1s"})


class Uploading:
    """Somebody who uploads photo after photo with the client, and tries again for as long as it takes."""

    def __init__(self, url: str, photos: list[tuple[str, bytes]]) -> None:
        self.client = Client(url, patience=Patience(total_s=600))
        self.photos = photos
        self.batch: Batch = self.client.create_batch()
        self.sent = 0
        self._thread = threading.Thread(target=self._upload)
        self._thread.start()

    def _upload(self) -> None:
        for name, content in self.photos:
            self.client.upload(self.batch, [(name, io.BytesIO(content))])
            self.sent += 1

    def finish(self) -> Batch:
        self._thread.join()
        self.client.close(self.batch)
        for _ in self.client.stream(self.batch):
            pass
        self.client.disconnect()
        return self.batch


class HoldInTheMiddle:
    """Progress that calls `act` once, while the tables are copied."""

    def __init__(self, act: Callable[[], None]) -> None:
        self._act = act
        self._acted = False

    def begin(self, rows: int) -> None: ...

    def advance(self, table: str, phase: str, rows: int) -> None:
        if table == "images" and not self._acted:
            self._acted = True
            self._act()


def refused(http: httpx.Client, batch_id: str) -> str:
    """Upload a photo that is refused for now; return the reason."""
    answer = http.post(f"/api/v1/batches/{batch_id}/images", files={"files": ("late.jpg", b"\xff\xd8\xff late")})
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert http.get(f"/api/v1/batches/{batch_id}/results").status_code == 200
    return answer.json()["detail"]


def test_a_catalogue_moves_there_and_back_while_people_upload(
    deploy, make_photos, until, assert_each_once, postgresql_place
):
    deployment = deploy()
    file = URL.create("sqlite", database=str(deployment.home / "catalog.db"))
    names = [name for name, _ in make_photos(PHOTOS)]
    first = Uploading(deployment.url, make_photos(PHOTOS))
    until(lambda: first.sent > 10)
    with httpx.Client(base_url=deployment.url, timeout=60, trust_env=False) as http:
        said: list[str] = []
        hold = HoldInTheMiddle(lambda: said.append(refused(http, first.batch.id)))
        moving.move(file, postgresql_place, time.time, hold)
        assert "it is being moved to postgresql://" in said[0]
        assert first.sent < PHOTOS
        assert "it was moved to postgresql://" in refused(http, first.batch.id)
        assert http.get("/healthz").json()["status"] == "degraded"
        assert deployment.stop() == 0
        deployment.environ["TAGFLEET_WEB__CATALOG_URL"] = postgresql_place.render_as_string(hide_password=False)
        deployment.start()
        assert_each_once(deployment, first.finish().id, names)

        second = Uploading(deployment.url, make_photos(PHOTOS, first=1000))
        until(lambda: second.sent > 10)
        hold = HoldInTheMiddle(lambda: said.append(refused(http, second.batch.id)))
        moving.move(postgresql_place, file, time.time, hold)
        assert "another transaction has locked" in said[1]
        assert f"it was moved to {deployment.home / 'catalog.db'}" in refused(http, second.batch.id)
    assert deployment.stop() == 0
    command = deployment.run("catalog", "move", deployment.home.parent / "catalog.db")
    assert "it was moved to" in command.communicate(timeout=300)[1]
    assert command.returncode == 1
    deployment.environ["TAGFLEET_WEB__CATALOG_URL"] = ""
    deployment.start()
    assert_each_once(deployment, second.finish().id, [name for name, _ in make_photos(PHOTOS, first=1000)])
    assert_each_once(deployment, first.batch.id, names)
