"""The reads and writes that are timed, each as a function without arguments."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from itertools import count, cycle
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

from bench import catalogs
from bench.growth.service import Service
from core.domain.ids import new_id
from web_tier.app import create_app
from web_tier.catalog.batches import Batch, Upload
from web_tier.catalog.database import catalog_url, migrate
from web_tier.catalog.results import ImageOutcome
from web_tier.collector.dead_letter_sweeper import DeadLetterSweeper

Kind = Literal["read", "write", "upkeep"]
"""Upkeep is what processes do by themselves, and nobody waits for."""

MOST_RUNS = 20
"""How often an operation can be run: each deletes, records or edits something else."""

_NO_SUCH = "no such label"
_RECORDED = 100
_HEAD_BYTES = 1000
"""An export's head, before the first image, is shorter."""
_JPEG = b"\xff\xd8\xff\xe0"


class Unsupported(Exception):
    """This version of the service does not have the operation."""


@dataclass(frozen=True, slots=True)
class Operation:
    """`run` does it once. Raises Unsupported."""

    name: str
    kind: Kind
    run: Callable[[], object]


def operations(service: Service) -> Iterator[Operation]:
    """Yield all operations; those that remove something come last."""
    for name, path in _paths(service):
        yield Operation(name, "read", _get(service, path))
    for format_ in ("csv", "jsonl", "coco", "xmp"):
        yield Operation(f"first bytes of an export, {format_}", "read", _first_bytes(service, format_))
    yield Operation("start: check the schema, answer once", "read", _starting(service))
    yield from _writes(service)
    queue = service.backend.jobs(service.settings.default_pool)
    yield Operation("depth of the queue", "upkeep", queue.depth)
    yield Operation("sweep of dead letters", "upkeep", _sweeping(service))


def _paths(service: Service) -> Iterator[tuple[str, str]]:
    of = service.subjects
    batch = f"/api/v1/batches/{of.largest}"
    results = f"{batch}/results?limit=100"
    yield "tags, most frequent", "/api/v1/tags"
    yield "tags that begin with s", "/api/v1/tags?q=s"
    yield "tags that begin with a rare name", f"/api/v1/tags?q={of.rare}"
    yield "tags of a batch", f"/api/v1/tags?batch_id={of.largest}"
    yield "images, newest", "/api/v1/images"
    yield "images by a prefix, s", "/api/v1/images?q=s"
    yield "images by a prefix, rare", f"/api/v1/images?q={of.rare}"
    yield "images by a prefix, of none", f"/api/v1/images?q={_NO_SUCH}"
    yield "images by a common tag", f"/api/v1/images?tag={of.common}"
    yield "images by a rare tag", f"/api/v1/images?tag={of.rare}"
    yield "images by a broad tag, dog", "/api/v1/images?tag=dog"
    yield "images by a tag of none", f"/api/v1/images?tag={_NO_SUCH}"
    yield "images by a common tag and confidence", f"/api/v1/images?tag={of.common}&min_confidence=0.9"
    yield "one image", f"/api/v1/images/{of.images[0]}"
    yield "batches, newest", "/api/v1/batches"
    yield "one batch", batch
    yield "results, first page", results
    yield "results, middle", f"{results}&cursor={of.size // 2}"
    yield "results, last page", f"{results}&cursor={max(0, of.size - 100)}"
    for status in ("succeeded", "failed", "cancelled", "queued"):
        yield f"results by status, {status}", f"{results}&status={status}"
    yield "results by a common tag", f"{results}&tag={of.common}"
    yield "results by a rare tag", f"{results}&tag={of.rare}"
    yield "results by a broad tag, dog", f"{results}&tag=dog"
    yield "results by a tag of none", f"{results}&tag={_NO_SUCH}"
    yield "results by min_confidence, many", f"{results}&min_confidence=0.5"
    yield "results by min_confidence, five of the surest", f"{batch}/results?limit=5&min_confidence=1"
    yield "results by a common tag and confidence", f"{results}&tag={of.common}&min_confidence=0.95"
    yield "results by a prefix, s", f"{results}&q=s"
    for order in ("latest", "surest", "unsure"):
        yield f"results, order {order}", f"{results}&order={order}"
    for path in ("/readyz", "/api/v1/fleet", "/metrics"):
        yield f"{path}, with messages waiting", path


def _get(service: Service, path: str) -> Callable[[], object]:
    unknown = set(parse_qs(urlsplit(path).query)) - service.parameters(path)

    def run() -> None:
        if unknown:
            raise Unsupported(f"{path}: this version has no parameter {', '.join(unknown)}")
        answer = service.client.get(path)
        if answer.status_code != 200 and path != "/readyz":
            raise RuntimeError(f"{path} answered {answer.status_code}: {answer.text}")

    return run


def _first_bytes(service: Service, format_: str) -> Callable[[], object]:
    def run() -> None:
        path = f"/api/v1/batches/{service.subjects.largest}/export?format={format_}"
        answer = service.client.get(path, buffered=False)
        next(piece for piece in answer.iter_encoded() if len(piece) > _HEAD_BYTES)
        answer.close()

    return run


def _starting(service: Service) -> Callable[[], object]:
    def run() -> None:
        migrate(catalog_url(service.settings))
        app = create_app(service.backend, service.settings, time.time)
        app.test_client().get("/healthz")
        app.extensions["tagfleet"].database.close()

    return run


def _writes(service: Service) -> Iterator[Operation]:
    batch_id = _post(service, "/api/v1/batches", {})["id"]
    for many in (1, 20):
        yield Operation(f"upload of {many}", "write", _uploading(service, batch_id, many))
    yield Operation(f"record {_RECORDED} results", "write", _recording(service))
    images = cycle(service.subjects.images)
    edits: list[tuple[str, str]] = []

    def edit() -> None:
        image_id = next(images)
        answer = service.client.patch(
            f"/api/v1/images/{image_id}/tags", json={"add": [service.subjects.common, "ours"]}
        )
        edits.append((image_id, answer.get_json()["edit_id"]))

    def undo() -> None:
        image_id, edit_id = edits.pop()
        _post(service, f"/api/v1/images/{image_id}/tags/undo", {"edit_id": edit_id})

    yield Operation("edit of one image's tags", "write", edit)
    while len(edits) <= MOST_RUNS:
        edit()
    yield Operation("undo of an edit", "write", undo)
    small = [new_id("bat") for _ in range(MOST_RUNS + 1)]
    for batch in small:
        catalogs.fill(service.catalog.database, batch, 100)
    yield Operation("deletion of a batch of 100", "write", lambda: _delete(service, small.pop()))


def _post(service: Service, path: str, body: dict[str, Any]) -> Any:
    answer = service.client.post(path, json=body)
    if answer.status_code >= 400:
        raise RuntimeError(f"{path} answered {answer.status_code}: {answer.text}")
    return answer.get_json()


def _delete(service: Service, batch_id: str) -> None:
    answer = service.client.delete(f"/api/v1/batches/{batch_id}")
    if answer.status_code != 204:
        raise RuntimeError(f"the deletion of a batch answered {answer.status_code}: {answer.text}")


def _uploading(service: Service, batch_id: str, many: int) -> Callable[[], object]:
    numbers = count(1)

    def run() -> None:
        files = [(BytesIO(_JPEG + os.urandom(10_000)), f"{many}-{next(numbers)}.jpg") for _ in range(many)]
        answer = service.client.post(f"/api/v1/batches/{batch_id}/images", data={"files": files})
        if answer.status_code != 201:
            raise RuntimeError(f"an upload answered {answer.status_code}: {answer.text}")

    return run


def _recording(service: Service) -> Callable[[], object]:
    """Record results of a new batch, whose tags are those that the catalogue has most of."""
    now = time.time()
    batch = Batch(new_id("bat", now), service.settings.default_pool, {}, {}, now, None, None, 0, 0, 0, 0)
    service.catalog.create_batch(batch, payload_hash="")
    tags = [
        {"name": name, "confidence": 0.9 - number / 10, "source": "model", "instances": []}
        for number, name in enumerate((service.subjects.common, "Beagle", "Crane", service.subjects.rare))
    ]
    prepared: list[list[ImageOutcome]] = []

    def prepare() -> None:
        ids = [new_id("img") for _ in range(_RECORDED)]
        service.catalog.add_images(batch.id, [Upload(id_, f"{id_}.jpg", id_, 1) for id_ in ids], now)
        prepared.append(
            [ImageOutcome(batch.id, id_, f"{id_}.jpg", None, tags, None, None, "bench@1", now) for id_ in ids]
        )

    for _ in range(MOST_RUNS + 1):
        prepare()
    return lambda: service.catalog.record(prepared.pop(), time.time())


def _sweeping(service: Service) -> Callable[[], object]:
    """Sweep as the collector does every few seconds, after the images were given up."""

    def record(outcomes: list[ImageOutcome]) -> int:
        return service.catalog.record(outcomes, time.time()).new if outcomes else 0

    pool = service.settings.default_pool
    receives = service.settings.queue.max_receives
    sweeper = DeadLetterSweeper(service.backend.store, service.catalog, receives, time.time, record)
    return lambda: sweeper.sweep(pool, service.backend.jobs(pool))
