"""The HTTP contract served from memory: a test decides when photos are tagged, fail, or are refused."""

from __future__ import annotations

import copy
import hashlib
import io
import itertools
import json
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import fake_fleet
import fake_routes
import pytest
from flask import Blueprint, Flask, Response
from PIL import Image
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from web_tier.http import guard
from web_tier.page.routes import pages

NOW = "2026-06-19T14:03:00Z"
LATER = "2026-06-19T14:03:04Z"
PATIENCE_S = 60


class FakeService:
    """State and switches. Everything a test changes here reaches open pages at once."""

    def __init__(self) -> None:
        self.batches: dict[str, dict[str, Any]] = {}
        self.items: dict[str, dict[str, Any]] = {}
        self.models: list[dict[str, Any]] = []
        self.registered: list[dict[str, Any]] = []
        self.fleet: dict[str, Any] = {"queues": {}, "workers": [], "pools": [], "decisions": []}
        self.refusals: list[tuple[int, str]] = []
        """Answers to the next uploads, before any is taken."""
        self.streams = True
        """False: /events answers 503, as where streams cannot be had."""
        self.uploads_allowed = threading.Event()
        self.uploads_allowed.set()
        self.history: dict[str, Any] = {"samples": [], "decisions": [], "changes": []}
        self.dead_letters: list[dict[str, Any]] = []
        self.keys: list[dict[str, Any]] = []
        self.key_required = False
        self.edits: dict[str, dict[str, Any]] = {}
        self.upload_sizes: list[int] = []
        self.streams_opened: list[str] = []
        self._changes: dict[str, list[str]] = {}
        self._stored: dict[tuple[str, str, str], dict[str, Any]] = {}
        self._named: dict[str, dict[str, Any]] = {}
        self.contents: dict[str, bytes] = {}
        self._numbers = itertools.count(1)
        self._changed = threading.Condition()
        self._up = True

    # --- what a test does -------------------------------------------------------------------------------------

    def show_fleet(self) -> None:
        self.fleet = copy.deepcopy(fake_fleet.FLEET)
        self.history = {
            "samples": fake_fleet.SAMPLES,
            "decisions": fake_fleet.DECISIONS,
            "changes": list(fake_fleet.CHANGES),
        }
        self.dead_letters = [fake_fleet.DEAD]

    def tag(
        self,
        name: str,
        *tags: tuple[str, float | None],
        boxes: dict[str, list[Any]] | None = None,
        caption: str | None = None,
    ) -> None:
        boxes = boxes or {}
        found = [
            {"name": tag, "confidence": value, "source": "model", "instances": _instances(boxes.get(tag, []))}
            for tag, value in tags
        ]
        self._finish(name, status="succeeded", tags=found, caption=caption)

    def fail(self, name: str, error: str) -> None:
        self._finish(name, status="failed", error=error)

    def workers(self, batch_id: str, *, ready: int, booting: int) -> None:
        with self._changed:
            self.batches[batch_id]["workers"] = {"ready": ready, "booting": booting}
            self._changes[batch_id].append("")
            self._changed.notify_all()

    def wait_until(self, reached: Callable[[], object], what: str) -> None:
        """What the page says is on show before its next request is here; `what` is told when it never comes."""
        with self._changed:
            if not self._changed.wait_for(reached, timeout=PATIENCE_S):
                pytest.fail(f"after {PATIENCE_S} s the page had not {what}; batches: {list(self.batches.values())}")

    def only_batch(self) -> dict[str, Any]:
        self.wait_until(lambda: self.batches, "made a batch")
        (batch,) = self.batches.values()
        return batch

    def wait_for_images(self, count: int) -> None:
        self.wait_until(lambda: len(self.items) >= count, f"sent {count} photos")

    def wait_for_close(self) -> None:
        """The page closes its batch once all is uploaded, after it has said so."""
        self.wait_until(lambda: self.only_batch()["closed_at"], "closed its batch")

    def put_batch(self, title: str, items: int = 0) -> str:
        """A batch that another browser uploaded."""
        batch = self.create({"title": title})
        for n in range(items):
            self.store(batch["id"], f"photo-{n:05}.jpg", b"photo %d" % n)
        return str(batch["id"])

    # --- what the API does ------------------------------------------------------------------------------------

    def answered(self, response: Response) -> Response:
        """After each request: whoever waits looks anew, whatever the request changed."""
        with self._changed:
            self._changed.notify_all()
        return response

    def create(
        self, metadata: dict[str, Any], tagger: str | None = None, options: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        with self._changed:
            batch_id = f"bat_{next(self._numbers):06}"
            self._changes[batch_id] = []
            self.batches[batch_id] = {
                "id": batch_id,
                "status": "open",
                "tagger": tagger or "resnet50",
                "workers": {"ready": 1, "booting": 0},
                "rate": None,
                "eta_s": None,
                "created_at": NOW,
                "closed_at": None,
                "completed_at": None,
                "metadata": metadata,
                "options": options or {},
            }
            self._changed.notify_all()
            return self.view(batch_id)

    def all_items(self) -> list[dict[str, Any]]:
        """As they are now: other requests may be adding to them."""
        with self._changed:
            return list(self.items.values())

    def store(self, batch_id: str, name: str, content: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        with self._changed:
            if known := self._stored.get((batch_id, name, digest)):
                return self.items[known["image_id"]]
            image_id = f"img_{next(self._numbers):06}"
            self.contents[image_id] = content
            self.items[image_id] = {
                "image_id": image_id,
                "batch_id": batch_id,
                "name": name,
                "sha256": digest,
                "bytes": len(content),
                "status": "queued",
                "error": None,
                "caption": None,
                "tags": [],
                "timings_ms": None,
                "tagger": None,
                "created_at": NOW,
                "finished_at": None,
            }
            self._stored[batch_id, name, digest] = self._named[name] = self.items[image_id]
            self._changes[batch_id].append(image_id)
            self._changed.notify_all()
            return self.items[image_id]

    def change(self, image_id: str, batch_id: str = "", **fields: Any) -> None:
        """A new state of an image, or only of its batch, told to those who watch."""
        with self._changed:
            if image_id:
                old = self.items[image_id]
                batch_id = old["batch_id"]
                self.items[image_id] = self._named[old["name"]] = old | fields
            self._changes[batch_id].append(image_id)
            self._changed.notify_all()

    def forget(self, batch_id: str) -> None:
        with self._changed:
            del self.batches[batch_id]
            self.items = {id: item for id, item in self.items.items() if item["batch_id"] != batch_id}

    def close(self, batch_id: str) -> dict[str, Any]:
        with self._changed:
            if not self.batches[batch_id]["closed_at"]:
                self.batches[batch_id] |= {"closed_at": NOW, "status": "in_progress"}
            self._complete(batch_id)
            return self.view(batch_id)

    def view(self, batch_id: str) -> dict[str, Any]:
        mine = [item for item in self.all_items() if item["batch_id"] == batch_id]
        statuses = Counter(item["status"] for item in mine)
        failed, cancelled = statuses["failed"], statuses["cancelled"]
        ended = statuses["succeeded"] + failed + cancelled
        counts = {"total": len(mine), "completed": ended, "failed": failed, "cancelled": cancelled}
        return self.batches[batch_id] | {"request_counts": counts}

    def events(self, batch_id: str, seen: int) -> Iterator[str]:
        while True:
            new, batch = self._wait(batch_id, seen)
            if not new:
                return
            seen += len(new)
            for number, image_id in new:
                if image_id:
                    yield f"id: {number}\nevent: item\ndata: {json.dumps(self.items[image_id])}\n\n"
            kind = "completed" if batch["status"] == "completed" else "batch"
            yield f"event: {kind}\ndata: {json.dumps(batch)}\n\n"
            if kind == "completed":
                return

    def _wait(self, batch_id: str, seen: int) -> tuple[list[tuple[int, str]], dict[str, Any]]:
        """The changes after number `seen`, once there are any; none when the service goes away."""
        with self._changed:
            changes = self._changes[batch_id]
            self._changed.wait_for(lambda: len(changes) > seen or not self._up, timeout=60)
            new = list(enumerate(changes[seen:], start=seen + 1)) if self._up else []
            return new, self.view(batch_id)

    def thumbnail(self, image_id: str) -> tuple[bytes, str]:
        try:
            image = Image.open(io.BytesIO(self.contents[image_id])).convert("RGB")
        except OSError:
            svg = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><path fill="#999" d="M1 1h6v6H1z"/></svg>'
            return svg, "image/svg+xml"
        image.thumbnail((256, 256))
        out = io.BytesIO()
        image.save(out, "JPEG")
        return out.getvalue(), "image/jpeg"

    def end_streams(self) -> None:
        with self._changed:
            self._up = False
            self._changed.notify_all()

    def resume_streams(self) -> None:
        self._up = True

    def _finish(self, name: str, **outcome: Any) -> None:
        with self._changed:
            item = self._named[name]
            timings = {"queue": 812.0, "fetch": 2.0, "decode": 4.2, "infer": 21.0}
            item |= {"finished_at": LATER, "tagger": "resnet50@1", "timings_ms": timings, **outcome}
            self.items[item["image_id"]] = item
            self._changes[item["batch_id"]].append(item["image_id"])
            self._complete(item["batch_id"])
            self._changed.notify_all()

    def _complete(self, batch_id: str) -> None:
        if self.batches[batch_id]["closed_at"]:
            counts = self.view(batch_id)["request_counts"]
            if counts["total"] == counts["completed"]:
                self.batches[batch_id] |= {"status": "completed", "completed_at": LATER}
        self._changes[batch_id].append("")
        self._changed.notify_all()


def _instances(boxes: list[Any]) -> list[dict[str, Any]]:
    return [{"box": box, "confidence": None} for box in boxes]


def build(service: FakeService) -> Flask:
    app = Flask("fake")
    app.config |= {"MAX_IMAGE_MB": 64, "MAX_REQUEST_MB": 1}
    app.after_request(guard._add_headers)  # the real Content-Security-Policy
    app.add_url_rule("/healthz", view_func=lambda: {"status": "ok"})
    api = Blueprint("api", "fake_api", url_prefix="/api/v1")
    fake_routes.add(api, service)
    api.after_request(service.answered)
    api.add_url_rule("/models", "models", lambda: {"models": service.models})
    api.add_url_rule("/fleet", "fleet", lambda: service.fleet)
    app.register_blueprint(api)
    app.register_blueprint(pages)
    return app


class _Quiet(WSGIRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


class RunningService(FakeService):
    """The fake behind a real socket; it can go away and come back at the same address."""

    def __init__(self) -> None:
        super().__init__()
        self._address = socket.socket()  # bound all the time, so that nobody else gets the port while it is away
        self._address.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._address.bind(("127.0.0.1", 0))
        self._port = self._address.getsockname()[1]
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        self.resume_streams()
        app = build(self)
        self._server: BaseWSGIServer = make_server("127.0.0.1", self._port, app, threaded=True, request_handler=_Quiet)
        self._server.daemon_threads = True  # type: ignore[attr-defined]  # a mixin's attribute
        self._server.block_on_close = False  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self.uploads_allowed.set()
        self.end_streams()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def end(self) -> None:
        self.stop()
        self._address.close()
