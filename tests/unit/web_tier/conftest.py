"""A web tier over the real local parts, and hands to work it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pytest
from flask.testing import FlaskClient

from config.settings import Settings
from core.domain.messages import Job, Result, Tag, decode_job, encode_output
from core.errors import Unavailable
from core.storage import layout
from core.wiring import Backend
from tests.clock import Clock
from tests.postgresql import Server, running
from web_tier.app import create_app
from web_tier.catalog.database import Database, catalog_url, migrate
from web_tier.catalog.results import ResultCatalog
from web_tier.collector.collector import Collector


@dataclass
class Budget:
    """After `calls` more calls every one raises `error`: the process that made them might as well be dead."""

    calls: int = 1 << 30
    error: type[Exception] = Unavailable

    def spend(self, name: str) -> None:
        if self.calls <= 0:
            raise self.error(f"{name} does not answer")
        self.calls -= 1


class Failing:
    """A port whose named calls come out of a budget that it shares with others."""

    def __init__(self, port: Any, budget: Budget, *calls: str) -> None:
        self._port = port
        self._budget = budget
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        if name in self._calls:
            self._budget.spend(name)
        return getattr(self._port, name)


class FailingBackend(Backend):
    """The local parts; each call that writes comes out of one budget."""

    def __init__(self, settings: Settings, budget: Budget) -> None:
        super().__init__(settings)
        object.__setattr__(self, "budget", budget)

    @cached_property
    def store(self) -> Any:
        return Failing(super().store, self.budget, "put", "put_all", "copy", "delete")

    def jobs(self, pool: str) -> Any:
        return Failing(super().jobs(pool), self.budget, "send")


@dataclass
class Web:
    """The service from outside, and what workers and the collector do."""

    settings: Settings
    backend: Backend
    clock: Clock
    client: FlaskClient
    collector: Collector
    catalog: ResultCatalog

    def batch(self, **wanted: object) -> str:
        answer = self.client.post("/api/v1/batches", json=wanted)
        assert answer.status_code == 201, answer.text
        return str(answer.json["id"])

    def upload(self, batch_id: str, *files: tuple[str, bytes]) -> list[dict]:
        answer = self.send(batch_id, *files)
        assert answer.status_code == 201, answer.text
        return answer.json["images"]

    def send(self, batch_id: str, *files: tuple[str, bytes]) -> Any:
        body, kind = self.multipart(files)
        return self.client.post(f"/api/v1/batches/{batch_id}/images", data=body, content_type=kind)

    def get(self, path: str) -> dict:
        answer = self.client.get(f"/api/v1{path}")
        assert answer.status_code == 200, answer.text
        return answer.json

    def close(self, batch_id: str) -> dict:
        return self.client.post(f"/api/v1/batches/{batch_id}/close").json

    def jobs(self) -> list[Job]:
        """Take every job off the queue, as workers do."""
        queue = self.backend.jobs(self.settings.default_pool)
        found = []
        while deliveries := queue.receive(10, 0):
            found += [decode_job(delivery.body) for delivery in deliveries]
            queue.delete(deliveries)
        return found

    def give_up(self) -> None:
        """Receive every job as often as the queue allows, and never delete it."""
        queue, most = self.backend.jobs(self.settings.default_pool), self.settings.queue.max_receives
        for _ in range(most):
            while found := queue.receive(10, 0):
                queue.set_visibility(found, 0)
                if found[0].receive_count == most:
                    break
        queue.receive(10, 0)

    def finish(self, *results: Result) -> None:
        """Store and send results, as workers do."""
        for result in results:
            self.keep(result)
            self.backend.results.send([encode_output(result, layout.result_key(result.batch_id, result.image_id))])

    def keep(self, result: Result) -> None:
        key = layout.result_key(result.batch_id, result.image_id)
        self.backend.store.put(key, result.model_dump_json().encode())

    def collect(self) -> int:
        """Bring in all results that wait; how many were new."""
        new = 0
        while self.backend.results.depth().visible:
            new += self.collector.collect(wait_s=0)
        return new

    @staticmethod
    def result_of(job: Job, *, tag: str = "dog", error: str | None = None) -> Result:
        return Result(
            batch_id=job.batch_id,
            image_id=job.image_id,
            name=job.name,
            worker="w1",
            tagger="t@1",
            tags=() if error else (Tag(name=tag, confidence=0.5),),
            error=error,
            finished_at=1.0,
            attempt=job.attempt,
        )

    @staticmethod
    def multipart(files: Sequence[tuple[str, bytes]], field: str = "files") -> tuple[bytes, str]:
        body = b""
        for name, content in files:
            body += b'--BOUND\r\nContent-Disposition: form-data; name="%s"; ' % field.encode()
            body += b'filename="%s"\r\nContent-Type: application/octet-stream\r\n\r\n' % _escaped(name)
            body += content + b"\r\n"
        return body + b"--BOUND--\r\n", "multipart/form-data; boundary=BOUND"


def _escaped(name: str) -> bytes:
    """As browsers write it: UTF-8, with quotes and line breaks as percent signs and numbers."""
    plain = name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
    return plain.replace("\\", "\\\\").encode("utf-8", "surrogatepass")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def budget() -> Budget:
    return Budget()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[tuple[Server, str]]:
    """A server, and the name of an empty catalogue in it that others are copied from."""
    with running(os.environ) as server, server.database() as url:
        migrate(url)
        yield server, str(url.database)


@pytest.fixture(params=["sqlite", "postgresql"])
def cataloged(request: pytest.FixtureRequest, settings: Settings) -> Iterator[Settings]:
    """The settings of a deployment whose catalogue lies in this database."""
    if request.param == "sqlite":
        yield settings
        return
    server, empty = request.getfixturevalue("postgresql")
    with server.database(like=empty) as url:
        web = settings.web.model_copy(update={"catalog_url": url.render_as_string(hide_password=False)})
        yield settings.model_copy(update={"web": web})


@contextmanager
def web_over(backend: Backend, clock: Clock) -> Iterator[Web]:
    """The application and the collector over one catalogue, which is migrated first."""
    settings = backend.settings
    migrate(catalog_url(settings))
    database = Database(catalog_url(settings))
    catalog = ResultCatalog(database)
    app = create_app(backend, settings, clock)
    yield Web(
        settings=settings,
        backend=backend,
        clock=clock,
        client=app.test_client(),
        collector=Collector(backend, catalog, settings, clock),
        catalog=catalog,
    )
    app.extensions["tagfleet"].database.close()
    database.close()


@pytest.fixture
def web(cataloged: Settings, clock: Clock, budget: Budget) -> Iterator[Web]:
    """Everything answers until the test lowers the budget."""
    with web_over(FailingBackend(cataloged, budget), clock) as web:
        yield web
