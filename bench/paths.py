"""Send images through a deployment on S3 and SQS, of which every part is real and runs in this process.

There are three paths: an upload, a file dropped into the bucket, and a run over a full bucket. The tagger is free and
nothing is decoded, which changes no request. Images that come back after a fault are decoded, in a child process.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from flask import Flask
from PIL import Image

from app_tier.pipeline.pipeline import Pipeline, PipelineOptions, PipelinePorts
from bench.deployment import wait_until
from bench.free import FreeTagger, NoDecoding
from bench.small_cloud.process import SmallCloud
from config.settings import Settings
from core.domain.ids import new_id
from core.storage import layout
from core.wiring import Backend
from tagfleet.bulk.listing import PrefixListing
from tagfleet.bulk.run import BucketRun, RunSetup, drive
from tagfleet.bulk.state import RunFile, RunState
from tagfleet.request_prices import price_of
from web_tier.app import create_app
from web_tier.catalog.database import Database, catalog_url, migrate
from web_tier.catalog.results import ResultCatalog
from web_tier.collector.collector import Collector

_LEAD = 5000
"""The default of `tagfleet tag s3://… --lead`."""
_IN_ONE_REQUEST = 20
"""Files that the Python client sends together."""
_CLIENTS = 8
_LONGEST_S = 3600.0
_KINDS = {"GetObject": "GET", "HeadObject": "GET", "ListObjectsV2": "LIST"}


@dataclass(frozen=True)
class Counted:
    """The requests that `images` images cost, by operation."""

    images: int
    operations: Mapping[str, int]

    def per_thousand(self) -> dict[str, float]:
        """Return requests per 1,000 images by kind: GET, PUT, LIST, SQS. Deleting is free and left out."""
        kinds = dict.fromkeys(("GET", "PUT", "LIST", "SQS"), 0.0)
        for operation, count in self.operations.items():
            service, _, name = operation.partition(".")
            if price_of(operation):
                kinds["SQS" if service == "sqs" else _KINDS.get(name, "PUT")] += 1000 * count / self.images
        return kinds

    def dollars_per_million(self) -> float:
        return sum(price_of(operation) * count for operation, count in self.operations.items()) * 1e6 / self.images


class Paths:
    """The three paths of one deployment on a stand-in, with `workers` workers."""

    def __init__(self, cloud: SmallCloud, settings: Settings, workers: int) -> None:
        self._cloud = cloud
        self._settings = settings
        self._workers = workers
        self._backend = Backend(settings)
        self._pool = settings.default_pool

    def bucket(self, count: int) -> Counted:
        """Tag a full bucket, as `tagfleet tag s3://photos/…` does."""
        prefix = f"{new_id('run')}/"
        self._cloud.put("photos", dict.fromkeys((f"{prefix}{number:07}.jpg" for number in range(count)), _picture()))
        backend = self._backend
        listing = PrefixListing(backend.source, f"s3://photos/{prefix}")
        with self._working():
            self._cloud.reset()
            new = RunState(listing=listing.name, pool=self._pool)
            file = RunFile(backend.store, f"run_{prefix[:-1]}", new, time.time)
            setup = RunSetup(backend.store, backend.jobs(self._pool), time.time, lead=_LEAD)
            drive(BucketRun(file, listing, setup), lambda _run: None, _fail, time.sleep)
            counts = dict(self._cloud.requests())
        if (file.state.done, file.state.failed) != (count, 0):
            raise RuntimeError(f"{count} images were in the bucket, and the run ended with {file.state}")
        return Counted(count, counts)

    def uploads(self, count: int) -> Counted:
        """Upload images as the Python client does, until all results are in the catalogue."""
        picture = _picture()
        with self._working(), self._serving() as app:
            self._cloud.reset()
            batch = _asked(app, "POST", "/batches", json={})["id"]

            def upload(start: int) -> None:
                numbers = range(start, min(count, start + _IN_ONE_REQUEST))
                files = [(BytesIO(picture + f"{batch} {number}".encode()), f"{number}.jpg") for number in numbers]
                _asked(app, "POST", f"/batches/{batch}/images", data={"files": files})

            with ThreadPoolExecutor(_CLIENTS) as clients:
                list(clients.map(upload, range(0, count, _IN_ONE_REQUEST)))
            wait_until(
                lambda: _asked(app, "GET", f"/batches/{batch}")["request_counts"]["completed"] == count, _LONGEST_S
            )
            return Counted(count, dict(self._cloud.requests()))

    def drops(self, count: int) -> Counted:
        """Drop files into the bucket, whose notifications are jobs, until all results are in the catalogue.

        S3 sends each notification by a request to SQS, which is counted here. The put of the file is its owner's.
        """
        folder = new_id("bat")
        bucket, content = self._settings.aws.input_bucket, _picture()
        keys = [f"images/{folder}/{number:06}.jpg" for number in range(count)]
        self._cloud.put(bucket, {key: content + key.encode() for key in keys})
        with self._working(), self._serving() as app:
            self._cloud.reset()
            queue = f"{self._settings.aws.deployment}-{layout.jobs_queue(self._pool)}"
            self._cloud.send(queue, [_notification(bucket, key) for key in keys])

            def completed() -> int:
                return sum(batch["request_counts"]["completed"] for batch in _asked(app, "GET", "/batches")["batches"])

            wait_until(lambda: completed() == count, _LONGEST_S)
            return Counted(count, dict(self._cloud.requests() + Counter({"sqs.SendMessage": count})))

    @contextmanager
    def _working(self) -> Iterator[None]:
        """Run the workers for the block. Each has its own connections."""
        pipelines = []
        for number in range(self._workers):
            backend = Backend(self._settings)
            ports = PipelinePorts(backend.jobs(self._pool), backend.results, backend.store, backend.originals)
            timeout_s = self._settings.queue.visibility_timeout_s
            options = PipelineOptions(self._settings.worker, f"bench-{number}", timeout_s, decoding=NoDecoding)
            pipelines.append(Pipeline(FreeTagger(), ports, options))
        for pipeline in pipelines:
            pipeline.start()
        try:
            yield
        finally:
            for pipeline in pipelines:
                pipeline.draining.set()
            for pipeline in pipelines:
                wait_until(lambda: pipeline.wait_until_drained(1.0))  # noqa: B023  # called within the iteration
                pipeline.close()

    @contextmanager
    def _serving(self) -> Iterator[Flask]:
        """Run web tier and collector for the block, over an empty catalogue."""
        url = catalog_url(self._settings)
        migrate(url)
        with ExitStack() as ends:
            database = Database(url)
            ends.callback(database.close)
            app = create_app(self._backend, self._settings, time.time)
            services = app.extensions["tagfleet"]
            ends.callback(services.database.close)
            ends.callback(services.thumbnails.close)
            stop, steps = threading.Event(), list[str]()
            collector = Collector(
                Backend(self._settings), ResultCatalog(database), self._settings, time.time, step=steps.append
            )
            thread = threading.Thread(target=collector.run, args=(stop,))
            thread.start()
            ends.callback(thread.join)
            ends.callback(stop.set)
            wait_until(lambda: steps.count("collect") > 1)  # it has looked for what a collector before it left
            yield app


def _asked(app: Flask, method: str, path: str, **request: Any) -> Any:
    with app.test_client() as client:
        said = client.open(f"/api/v1{path}", method=method, **request)
    if said.status_code >= 400:
        raise RuntimeError(f"{method} {path}: {said.status_code} {said.text}")
    return said.json


def _picture() -> bytes:
    stream = BytesIO()
    Image.linear_gradient("L").resize((16, 16)).convert("RGB").save(stream, "JPEG")  # one colour would be refused
    return stream.getvalue()


def _notification(bucket: str, key: str) -> str:
    """Return S3's message about one new object."""
    record = {
        "eventSource": "aws:s3",
        "eventName": "ObjectCreated:Put",
        "eventTime": "2026-01-01T00:00:00.000Z",
        "s3": {"bucket": {"name": bucket}, "object": {"key": key, "size": 1, "sequencer": "1"}},
    }
    return json.dumps({"Records": [record]})


def _fail(line: str) -> None:
    raise RuntimeError(line)


PATHS: Mapping[str, Callable[[Paths, int], Counted]] = {
    "upload": Paths.uploads,
    "dropped file": Paths.drops,
    "bucket": Paths.bucket,
}
"""The paths by the name that the reports give them."""
