"""The deployment under test: its components, and a test's operations on them."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from flask import Flask
from flask.testing import FlaskClient

from config import settings as config
from config.settings import Settings
from core.fleet.roster import Heartbeat, PoolStatus, WorkerState
from core.storage import layout
from tagfleet.client import Client, Item, Patience
from tagfleet.testing.backend import MemoryBackend
from tagfleet.testing.clock import Clock
from tagfleet.testing.faults import Faults
from tagfleet.testing.server import LoopbackServer
from tagfleet.testing.stepping import Stepper
from tagfleet.testing.tagger import WORKER, Answer, Failed, Tagged, Tagger, TaggerStandIn
from web_tier.app import create_app
from web_tier.catalog.database import Database, catalog_url, migrate
from web_tier.catalog.keys import SCOPES, KeyCatalog
from web_tier.http.network_policy import asks_for_keys

_STEP_S = 0.01
_END_S = 10.0
_ADDED_AT_ONCE = 500
_NEVER_LOST_S = 86_400.0
_QUICK = Patience(total_s=60, first_s=0.001, longest_s=0.01)


@contextmanager
def deployment(
    *,
    tagger: Tagger | None = None,
    settings: Mapping[str, Any] | None = None,
    running: bool = True,
    now: float | None = None,
    patience_s: float = 60.0,
) -> Iterator[Deployment]:
    """Run a deployment for the `with` block.

    `tagger` answers for each photo; without one, photos wait until the test calls `tag` or `fail`. `settings` maps
    dotted names to values: `{"web.require_keys": True}`. With `running=False` only calls such as `step`, `tag` and
    `fail` make progress. `now` stops the clock at this time (Unix seconds); without it the clock runs. `tag` and `fail`
    wait up to `patience_s` for their photo to arrive.
    """
    with tempfile.TemporaryDirectory(dir=_fast_folder(), prefix="tagfleet-") as folder:
        found = Deployment(_settings(Path(folder), settings or {}), tagger, patience_s=patience_s)
        if now is not None:
            found.clock.set(now)
        try:
            found.show_workers(ready=1)
            if running:
                found.run()
            yield found
        finally:
            found.close()


class Deployment:
    """A Tagfleet in this process. Create it with `deployment`."""

    def __init__(self, settings: Settings, tagger: Tagger | None, *, patience_s: float) -> None:
        self.settings = settings
        self._patience_s = patience_s
        self.clock = Clock()
        self.backend = MemoryBackend(settings, self.clock)
        url = catalog_url(settings)
        Path(url.database or "").parent.mkdir(parents=True, exist_ok=True)
        Path(url.database or "").write_bytes(_empty_catalogue())
        self._away = threading.Event()
        self.app: Flask = create_app(self.backend, settings, self.clock, stopping=self._away.is_set)
        self.faults = Faults(self.app.wsgi_app)
        self.app.wsgi_app = self.faults  # type: ignore[method-assign, assignment]  # WSGI middleware
        self.tagger = TaggerStandIn(self.backend, list(settings.pools), self.clock, tagger)
        self._stepper = Stepper(self.backend, settings, self.clock, self.tagger)
        self._server: LoopbackServer | None = None
        self._clients: list[Client] = []
        self._key = self.create_key("tagfleet.testing", SCOPES) if asks_for_keys(settings) else ""

    # --- reaching it --------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """The service's address. The first use starts the server."""
        if self._server is None:
            self._server = LoopbackServer(self.app)
            self._server.start()
        return self._server.url

    def content_of(self, item: Item) -> bytes:
        """Return the bytes of a photo, as the service keeps them."""
        return self.backend.store.get(layout.image_key(item.batch_id, item.image_id)).data

    def client(self, **options: Any) -> Client:
        """Return a client, which is disconnected at the end. It takes the options of `tagfleet.client.Client`."""
        given = {"patience": _QUICK, "api_key": self._key or None}
        client = Client(self.url, **given | options)
        self._clients.append(client)
        return client

    def http(self) -> FlaskClient:
        """Return a client that calls the application without a server."""
        client = self.app.test_client()
        if self._key:
            client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {self._key}"
        return client

    def stop(self) -> None:
        """Stop the server: it refuses connections until `start`, and event streams end."""
        self._away.set()
        if self._server is not None:
            self._server.stop()

    def start(self) -> None:
        """Start the server again at the same address."""
        self._away.clear()
        if self._server is not None:
            self._server.start()

    # --- photos and tags ----------------------------------------------------------------------

    def add_batch(
        self, title: str = "", photos: Mapping[str, bytes] | None = None, *, close: bool = False, **wanted: Any
    ) -> str:
        """Add a batch as another browser would, and return its id. `wanted` adds fields to the request's JSON."""
        metadata = {"title": title} if title else {}
        batch_id = str(self._post("/batches", json={"metadata": metadata, **wanted})["id"])
        self.add_photos(batch_id, photos or {})
        if close:
            self.close_batch(batch_id)
        return batch_id

    def add_photos(self, batch_id: str, photos: Mapping[str, bytes]) -> list[str]:
        """Upload photos by name, and return their ids in that order."""
        found: list[str] = []
        named = list(photos.items())
        for start in range(0, len(named), _ADDED_AT_ONCE):
            body, kind = _form(named[start : start + _ADDED_AT_ONCE])
            answer = self._post(f"/batches/{batch_id}/images", data=body, content_type=kind)
            found += [str(image["image_id"]) for image in answer["images"]]
        return found

    def close_batch(self, batch_id: str) -> None:
        self._post(f"/batches/{batch_id}/close")
        self.step()

    def tag(
        self,
        name: str,
        tags: Mapping[str, float | None] | None = None,
        *,
        caption: str | None = None,
        boxes: Mapping[str, Sequence[Sequence[float]]] | None = None,
    ) -> None:
        """Tag the photo of this name once it has arrived. Confidences are 0..1 or None; `boxes` are by tag."""
        self._answer(name, Tagged(tags or {}, caption, boxes or {}))

    def fail(self, name: str, error: str) -> None:
        """Make the photo of this name fail, with the error that its owner reads."""
        self._answer(name, Failed(error))

    def give_up(self, name: str) -> None:
        """Make the job of this photo a dead letter."""
        self._await(lambda: self.tagger.give_up(name), f"photo {name!r} to come")
        self.step(sweep=True)

    # --- the fleet ----------------------------------------------------------------------------

    def show_workers(self, *, ready: int = 0, booting: int = 0) -> None:
        """Replace all workers by this many workers of the default pool."""
        pool = self.settings.default_pool
        states = [WorkerState.IDLE] * ready + [WorkerState.WARMING] * booting
        now = self.clock()
        beats = [
            Heartbeat(
                worker_id=f"{WORKER}-{number}",
                pool=pool,
                tagger=self.settings.pools[pool].tagger,
                state=state,
                seq=1,
                at=now,
                state_since=now,
                started_at=now,
            )
            for number, state in enumerate(states, 1)
        ]
        roster = self.backend.roster
        roster.forget([beat.worker_id for beat in roster.workers()])
        for beat in beats:
            roster.beat(beat)
        self.show_pools()

    def show_pools(self, notice: str = "", *, preparing: bool = False) -> None:
        """Make every pool report that it serves its tagger, or is `preparing` it, with a `notice` for people."""
        for name, pool in self.settings.pools.items():
            self.backend.roster.set_pool(
                PoolStatus(
                    pool=name,
                    wanted=pool.tagger,
                    serves="" if preparing else f"{pool.tagger}@1",
                    state="preparing" if preparing else "ready",
                    notice=notice,
                    at=self.clock(),
                )
            )

    def create_key(self, name: str, scopes: Sequence[str] = ("read", "write")) -> str:
        """Create an API key, as `tagfleet keys create` does, and return its secret."""
        database = Database(catalog_url(self.settings))
        try:
            return KeyCatalog(database).create(name, scopes, self.clock())[1]
        finally:
            database.close()

    # --- moving on ----------------------------------------------------------------------------

    def step(self, *, sweep: bool = False) -> None:
        """Tag waiting photos, and bring all results into the catalogue; `sweep` looks for lost work too."""
        self._stepper.step(sweep=sweep)

    def run(self) -> None:
        """Step again and again in a thread, until the end."""
        self._stepper.run(failed=self.stop)  # then clients get an error, and do not wait for tags in vain

    def close(self) -> None:
        """End all threads and connections. `deployment` calls this at the end of its block.

        Raises the exception that ended the thread of `run`: for instance, one from the test's own tagger.
        """
        self._away.set()
        for client in self._clients:
            client.disconnect()
        try:
            self._stepper.close()
        finally:
            if self._server is not None:
                self._server.close()
            self.faults.end(_END_S)
            services = self.app.extensions["tagfleet"]
            services.thumbnails.close()
            services.database.close()

    def _answer(self, name: str, answer: Answer) -> None:
        self._await(lambda: self.tagger.finish(name, answer), f"photo {name!r} to come")
        self.step()

    def _await(self, done: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + self._patience_s
        self.step()
        while not done():
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {self._patience_s:g} s for {what}; waiting photos: {self.tagger.waiting}")
            time.sleep(_STEP_S)
            self.step()

    def _post(self, path: str, **request: Any) -> Any:
        with self.http() as client:
            answer = client.post(f"/api/v1{path}", **request)
        if answer.status_code >= 400:
            raise RuntimeError(f"POST {path}: {answer.status_code} {answer.text}")
        return answer.json


def _settings(folder: Path, given: Mapping[str, Any]) -> Settings:
    """Return the default settings with the `given` ones, regardless of this machine's environment."""
    flags = {"home": str(folder), "cache": str(folder / "cache"), "port": 0, "controller.lost_after_s": _NEVER_LOST_S}
    return config.load({}, flags=flags | dict(given))


def _fast_folder() -> str | None:
    """Return a folder in memory, if this system has one: the catalogue is flushed to disk at every change."""
    memory = Path("/dev/shm")  # noqa: S108  # we create our own folder in it
    return str(memory) if memory.is_dir() else None


@cache
def _empty_catalogue() -> bytes:
    """Return the SQLite file of an empty catalogue, made once for each process."""
    with tempfile.TemporaryDirectory(dir=_fast_folder(), prefix="tagfleet-") as folder:
        url = catalog_url(_settings(Path(folder), {}))
        migrate(url)
        return Path(url.database or "").read_bytes()


def _form(files: Sequence[tuple[str, bytes]]) -> tuple[bytes, str]:
    """Return a multipart form of these files, as browsers write it, and its content type."""
    body = b""
    for name, content in files:
        plain = name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A").replace("\\", "\\\\")
        head = f'--tagfleet\r\nContent-Disposition: form-data; name="files"; filename="{plain}"\r\n\r\n'
        body += head.encode("utf-8", "surrogatepass") + content + b"\r\n"
    return body + b"--tagfleet--\r\n", "multipart/form-data; boundary=tagfleet"
