"""A small Tagfleet in memory, over real HTTP, that can be told to misbehave."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from werkzeug.formparser import parse_form_data

from core.util.file_names import same_name
from tagfleet.client import Client, Patience

Fault = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class Service:
    """What the service holds, what it was sent, and the faults that the next requests of a path run into."""

    url: str = ""
    batches: dict[str, dict[str, Any]] = field(default_factory=dict)
    items: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    bodies: dict[str, bytes] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    received: list[list[str]] = field(default_factory=list)
    """The names in each upload, repeated ones too."""
    asked: list[tuple[str, str, str, Any]] = field(default_factory=list)
    """Method, path, query and JSON of each request that the `answers` below take."""
    answers: dict[str, Any] = field(default_factory=dict)
    """What `METHOD /path` is answered: a value as JSON, or bytes as they are."""
    disposition: str = ""
    """The header Content-Disposition of those that are bytes."""
    authorizations: set[str | None] = field(default_factory=set)
    last_event_ids: list[str | None] = field(default_factory=list)
    cut_streams_after: deque[int] = field(default_factory=deque)
    """How many events each of the next streams sends before its connection breaks."""
    faults: dict[str, deque[Fault]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    fail: Callable[[str], str | None] = lambda name: None

    def plan(self, path: str, *faults: Fault) -> None:
        """Requests whose path ends in `path` meet these faults first."""
        self.faults.setdefault(path, deque()).extend(faults)

    def fault(self, path: str) -> Fault | None:
        for ending, waiting in self.faults.items():
            if path.endswith(ending) and waiting:
                return waiting.popleft()
        return None

    def count(self, ending: str) -> int:
        return sum(path.endswith(ending) for _, path in self.requests)

    def batch(self, id: str) -> dict[str, Any]:
        items = self.items[id]
        failed = sum(item["status"] == "failed" for item in items)
        cancelled = sum(item["status"] == "cancelled" for item in items)
        counts = {"total": len(items), "completed": len(items), "failed": failed, "cancelled": cancelled}
        return {**self.batches[id], "request_counts": counts}

    def add(self, batch: str, name: str, content: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        for item in self.items[batch]:
            if (same_name(item["name"]), item["sha256"]) == (same_name(name), digest):
                return item
        error = self.fail(name)
        item = {
            "image_id": f"img_{len(self.bodies)}",
            "batch_id": batch,
            "name": name,
            "sha256": digest,
            "bytes": len(content),
            "status": "failed" if error else "succeeded",
            "error": error,
            "caption": None,
            "tags": [] if error else [{"name": "dog", "confidence": 0.93, "source": "model", "instances": []}],
            "a_newer_field": 1,
        }
        self.items[batch].append(item)
        self.bodies[item["image_id"]] = content
        return item


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    service: Service

    def log_message(self, *_: Any) -> None: ...

    def do_GET(self) -> None:  # the name that http.server calls
        self._handle("GET")

    def do_POST(self) -> None:
        self._handle("POST")

    def do_PATCH(self) -> None:
        self._handle("PATCH")

    def do_DELETE(self) -> None:
        self._handle("DELETE")

    def _handle(self, method: str) -> None:
        path, _, query = self.path.partition("?")
        with self.service.lock:
            self.service.requests.append((method, path))
            self.service.authorizations.add(self.headers["Authorization"])
            fault = self.service.fault(path)
        if fault:
            fault(self)
            return
        if (answer := self.service.answers.get(f"{method} {path.removeprefix('/api/v1')}", ...)) is not ...:
            body = self.body()
            self.service.asked.append((method, path, query, json.loads(body) if body else None))
            self._plain(answer) if isinstance(answer, bytes) else self.json(200, answer)
            return
        routes = {
            r"POST /api/v1/images/check": self._check,
            r"POST /api/v1/batches/(\w+)/images/known": self._known,
            r"POST /api/v1/batches": self._create,
            r"GET /api/v1/batches": self._list,
            r"POST /api/v1/batches/(\w+)/images": self._upload,
            r"POST /api/v1/batches/(\w+)/close": self._close,
            r"GET /api/v1/batches/(\w+)": self._batch,
            r"GET /api/v1/batches/(\w+)/results": self._results,
            r"GET /api/v1/batches/(\w+)/events": self._events,
        }
        for pattern, function in routes.items():
            found = re.fullmatch(pattern, f"{method} {path}")
            if found and all(id in self.service.batches for id in found.groups()):
                self.query = dict(part.split("=") for part in query.split("&") if part)
                function(*found.groups())
                return
        self.problem(404, "Not Found", "there is no such batch")

    def json(self, status: int, value: Any) -> None:
        body = json.dumps(value, ensure_ascii=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def problem(self, status: int, title: str, detail: str) -> None:
        self.json(status, {"title": title, "detail": detail, "status": status, "request_id": "req_1"})

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _plain(self, body: bytes) -> None:
        self.send_response(200 if body else 204)
        self.send_header("Content-Length", str(len(body)))
        if self.service.disposition:
            self.send_header("Content-Disposition", self.service.disposition)
        self.end_headers()
        self.wfile.write(body)

    def _check(self) -> None:
        asked = json.loads(self.body())["sha256"]
        with self.service.lock:
            there = {item["sha256"]: item["image_id"] for items in self.service.items.values() for item in items}
        self.json(200, {"known": {digest: there[digest] for digest in asked if digest in there}})

    def _known(self, id: str) -> None:
        with self.service.lock:
            contents = {hashlib.sha256(body).hexdigest(): body for body in self.service.bodies.values()}
            images = [
                self.service.add(id, image["name"], contents[image["sha256"]]) if image["sha256"] in contents else None
                for image in json.loads(self.body())["images"]
            ]
        self.json(200, {"images": images})

    def _create(self) -> None:
        payload = json.loads(self.body())
        key = self.headers["Idempotency-Key"]
        with self.service.lock:
            id = self.service.keys.setdefault(key, f"bat_{len(self.service.keys)}")
            self.service.batches.setdefault(
                id,
                {
                    "id": id,
                    "status": "open",
                    "tagger": payload["tagger"] or "resnet50",
                    "options": payload["options"],
                    "metadata": payload["metadata"],
                },
            )
            self.service.items.setdefault(id, [])
        self.json(201, self.service.batch(id))

    def _list(self) -> None:
        start = int(self.query.get("cursor", 0))
        ids = [*reversed(self.service.batches)]
        page = ids[start : start + 2]
        following = str(start + 2) if start + 2 < len(ids) else None
        self.json(200, {"batches": [self.service.batch(id) for id in page], "next_cursor": following})

    def _batch(self, id: str) -> None:
        self.json(200, self.service.batch(id))

    def _upload(self, id: str) -> None:
        if self.service.batches[id]["status"] != "open":
            self.body()
            self.problem(409, "Conflict", f"batch {id} is closed")
            return
        environ = {
            "wsgi.input": self.rfile,
            "CONTENT_LENGTH": self.headers["Content-Length"],
            "CONTENT_TYPE": self.headers["Content-Type"],
            "REQUEST_METHOD": "POST",
        }
        _, _, files = parse_form_data(environ)
        parts = [(part.filename or "", part.read()) for part in files.getlist("files")]
        for part in files.getlist("files"):
            part.close()
        with self.service.lock:
            self.service.received.append([name for name, _ in parts])
            answer = [self.service.add(id, name, content) for name, content in parts]
        self.json(201, {"images": answer})

    def _close(self, id: str) -> None:
        self.service.batches[id]["status"] = "completed"
        self.json(200, self.service.batch(id))

    def _results(self, id: str) -> None:
        start, limit = int(self.query.get("cursor", 0)), int(self.query["limit"])
        items = self.service.items[id]
        following = str(start + limit) if start + limit < len(items) else None
        self.json(200, {"results": items[start : start + limit], "next_cursor": following})

    def _events(self, id: str) -> None:
        last = self.headers["Last-Event-ID"]
        self.service.last_event_ids.append(last)
        start = int(last or 0)
        cut = self.service.cut_streams_after.popleft() if self.service.cut_streams_after else None
        events = [
            f"id: {number}\nevent: item\ndata: {json.dumps(item, ensure_ascii=False)}\n\n"
            for number, item in enumerate(self.service.items[id], 1)
        ][start:]
        if cut is None and self.service.batches[id]["status"] == "completed":
            events.append(f"event: completed\ndata: {json.dumps(self.service.batch(id))}\n\n")
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b": ping\n\n" + "".join(events[:cut]).encode())
        self.close_connection = True


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"service": service}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    service.url = f"http://127.0.0.1:{server.server_port}"
    yield service
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    patience = Patience(total_s=60, first_s=0.001, longest_s=0.01)
    with Client(service.url, patience=patience) as client:
        yield client
