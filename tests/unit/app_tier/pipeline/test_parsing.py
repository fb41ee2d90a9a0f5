"""Notifications of a bucket, and images outside the store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote_plus

import pytest

from app_tier.pipeline.pipeline import Pipeline
from core.domain.dropped_files import make_image_id
from core.domain.messages import Job, Result, decode_result, encode
from core.domain.notifications import parse_message
from core.errors import NotFound, Unreadable
from core.storage import layout, packs
from core.storage.ports import Admit, Blob, Etag
from core.wiring import Backend

Collect = Callable[[int], dict[str, Result]]
_MOST = 10_000


class Bucket:
    """A bucket in memory."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.etag = "e"

    def read(self, uri: str, max_bytes: int, admit: Admit | None = None) -> Blob:
        if uri not in self.objects:
            raise NotFound(uri)
        if len(self.objects[uri]) > _MOST:
            raise Unreadable("it is larger than what is read at most")
        return Blob(self.objects[uri], Etag(self.etag))


@pytest.fixture
def bucket(backend: Backend) -> Iterator[Bucket]:
    bucket = Bucket()
    backend.__dict__["source"] = bucket  # where Backend keeps the one that it opens
    return bucket


def record(key: str, size: int = 9) -> dict[str, Any]:
    return {
        "eventSource": "aws:s3",
        "eventName": "ObjectCreated:Put",
        "eventTime": "2026-01-01T00:00:00Z",
        "s3": {"bucket": {"name": "input"}, "object": {"key": quote_plus(key), "size": size, "eTag": "e"}},
    }


def tell(backend: Backend, *records: dict[str, Any]) -> None:
    backend.jobs("resnet50").send([json.dumps({"Records": list(records)})])


def test_the_result_of_a_file_in_a_bucket_has_its_address(
    pipeline: Pipeline, collect: Collect, backend: Backend, bucket: Bucket, picture: Any
) -> None:
    uri = "s3://input/images/my trip/a+b ü.png"
    bucket.objects[uri] = picture("blue")
    tell(backend, record("images/my trip/a+b ü.png"))
    pipeline.start()
    (result,) = collect(1).values()
    assert result.tags[0].name == "blue"
    assert result.origin is not None
    assert (result.origin.uri, result.origin.bytes) == (uri, len(bucket.objects[uri]))
    assert result.origin.sha256 == hashlib.sha256(bucket.objects[uri]).hexdigest()


def test_an_overwritten_file_gives_a_result_of_the_new_one(
    pipeline: Pipeline, collect: Collect, backend: Backend, bucket: Bucket, picture: Any
) -> None:
    bucket.objects["s3://input/images/a.png"] = picture("blue")
    bucket.etag = "later"
    tell(backend, record("images/a.png"))
    pipeline.start()
    (result,) = collect(1).values()
    assert result.image_id == make_image_id("input", "images/a.png", "later")
    assert backend.store.get(layout.result_key(result.batch_id, result.image_id)).data


def test_a_retry_does_not_tag_the_file_that_replaced_the_failed_one(
    pipeline: Pipeline, collect: Collect, backend: Backend, bucket: Bucket, picture: Any
) -> None:
    bucket.objects["s3://input/images/a.png"] = picture("blue")
    (first,) = parse_message(json.dumps({"Records": [record("images/a.png")]}), "t").jobs
    bucket.etag = "later"
    backend.jobs("resnet50").send([encode(first.model_copy(update={"origin": None, "attempt": 1}))])
    pipeline.start()
    (result,) = collect(1).values()
    assert result.error == "a.png: another file has replaced it, which is an item of its own"


def test_a_message_of_several_files_becomes_a_job_for_each(
    pipeline: Pipeline, collect: Collect, backend: Backend, bucket: Bucket, picture: Any
) -> None:
    names = [f"images/{number}.png" for number in range(5)]
    bucket.objects |= {f"s3://input/{name}": picture() for name in names}
    tell(backend, *map(record, names), record("images/folder/", size=0))
    pipeline.start()
    assert sorted(result.name for result in collect(5).values()) == [f"{number}.png" for number in range(5)]
    assert pipeline.in_flight.wait_until_empty(10)
    assert backend.jobs("resnet50").depth().outstanding == 0


def test_test_events_and_folders_are_acknowledged(
    pipeline: Pipeline, collect: Collect, backend: Backend, bucket: Bucket, picture: Any
) -> None:
    backend.jobs("resnet50").send([json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent"})])
    tell(backend, record("images/folder/", size=0))
    bucket.objects["s3://input/images/a.png"] = picture()
    tell(backend, record("images/a.png"))
    pipeline.start()
    collect(1)
    assert pipeline.in_flight.wait_until_empty(10)
    depth = backend.jobs("resnet50").depth()
    assert (depth.outstanding, depth.dead) == (0, 0)


def test_unreadable_files_give_a_result_with_an_error(
    pipeline: Pipeline, collect: Collect, backend: Backend, bucket: Bucket
) -> None:
    bucket.objects["s3://input/images/big.png"] = b"x" * (_MOST + 1)
    tell(backend, record("images/big.png"), record("images/gone.png"))
    pipeline.start()
    assert sorted(str(result.error) for result in collect(2).values()) == [
        "big.png: it is larger than what is read at most",
        "gone.png: its bytes are no longer in their bucket",
    ]


def test_a_result_for_the_store_alone_is_not_sent(
    pipeline: Pipeline, collect: Collect, backend: Backend, bucket: Bucket, picture: Any, submit: Callable[..., Job]
) -> None:
    bucket.objects["s3://b/k.png"] = picture("blue")
    job = Job(
        batch_id="run_1",
        image_id="00001-00000",
        key="s3://b/k.png",
        name="k.png",
        tagger="t",
        submitted_at=0.0,
        store_only=True,
    )
    backend.jobs("resnet50").send([encode(job)])
    other = submit(picture())
    pipeline.start()
    assert set(collect(1)) == {other.image_id}
    assert pipeline.in_flight.wait_until_empty(10)
    stored = decode_result(backend.store.get(layout.result_key("run_1", "00001-00000")).data)
    assert stored.tags[0].name == "blue"
    assert backend.results.depth().outstanding == 0


def test_results_of_a_run_are_packed(
    pipeline: Pipeline, collect: Collect, backend: Backend, bucket: Bucket, picture: Any, submit: Callable[..., Job]
) -> None:
    bucket.objects["s3://b/k.png"] = picture("blue")
    jobs = [
        Job(
            batch_id="run_1",
            image_id=packs.image_id(1, position),
            key="s3://b/k.png" if position else "s3://b/gone.png",
            name="k.png",
            tagger="t",
            submitted_at=0.0,
            store_only=True,
            pack=True,
        )
        for position in range(12)
    ]
    backend.jobs("resnet50").send(list(map(encode, jobs)))
    other = submit(picture())
    pipeline.start()
    assert set(collect(1)) == {other.image_id}
    assert pipeline.in_flight.wait_until_empty(120)
    found = list(packs.list_results(backend.store, "run_1", 1))
    assert all(there.is_pack for there in found)
    results = [result for there in found for result in packs.read_pack(backend.store.get(there.key).data)]
    assert sorted((result.image_id, result.ok) for result in results) == [
        (job.image_id, position > 0) for position, job in enumerate(jobs)
    ]
    assert (backend.results.depth().outstanding, backend.jobs("resnet50").depth().outstanding) == (0, 0)
