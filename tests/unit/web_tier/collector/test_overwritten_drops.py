"""Dropped files that are overwritten before their events are handled, in real buckets."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import permutations
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from PIL import Image

from core.aws.sources import S3Source
from core.domain.notifications import parse_message
from core.errors import Unreadable
from tests.cloud import REGION, Cloud
from tests.unit.web_tier.conftest import Web

COLOURS = {"red": (200, 30, 30), "blue": (30, 30, 200), "green": (30, 160, 30)}


def picture(colour: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (40, 20), COLOURS[colour]).save(out, "PNG")
    return out.getvalue()


def colour_of(image: bytes) -> str:
    pixel = Image.open(io.BytesIO(image)).convert("RGB").getpixel((5, 5))
    return min(COLOURS, key=lambda name: sum(abs(a - b) for a, b in zip(COLOURS[name], pixel, strict=True)))


@dataclass
class Drops:
    """A bucket, what it tells of itself, and workers that tag a picture by its colour."""

    web: Web
    s3: Any
    bucket: str

    def put(self, key: str, colour: str) -> dict[str, Any]:
        """Put a file; what an event says of it."""
        answer = self.s3.put_object(Bucket=self.bucket, Key=key, Body=picture(colour))
        found = {"key": key, "size": len(picture(colour)), "eTag": answer["ETag"].strip('"')}
        return found | ({"versionId": answer["VersionId"]} if "VersionId" in answer else {})

    def event(self, found: dict[str, Any]) -> str:
        s3 = {"bucket": {"name": self.bucket}, "object": found | {"key": quote_plus(found["key"])}}
        record = {"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "eventTime": "2026-01-01T00:00:00Z"}
        return json.dumps({"Records": [record | {"s3": s3}]})

    def bridged(self, found: dict[str, Any], encoded: Callable[[str], str] = str) -> str:
        put = {"key": encoded(found["key"]), "size": found["size"], "etag": found["eTag"]}
        put |= {"version-id": found["versionId"]} if "versionId" in found else {}
        detail = {"bucket": {"name": self.bucket}, "object": put}
        head = {"source": "aws.s3", "detail-type": "Object Created", "time": "2026-01-01T00:00:00Z"}
        return json.dumps(head | {"detail": detail})

    def handle(self, *events: str) -> None:
        """As workers do: read what each tells of, and say which colour it has."""
        for event in events:
            (job,) = parse_message(event, "resnet50").jobs
            job, data = self.web.backend.originals.of_job(job)
            result = self.web.result_of(job, tag=colour_of(data))
            self.web.finish(result.model_copy(update={"origin": job.origin}))
        self.web.collect()

    def items(self) -> list[dict[str, Any]]:
        batches = self.web.get("/batches")["batches"]
        found = [item for batch in batches for item in self.web.get(f"/batches/{batch['id']}/results")["results"]]
        assert sum(batch["request_counts"]["total"] for batch in batches) == len(found)
        return found

    def tags_and_thumbnails(self) -> list[tuple[str, str]]:
        return sorted((item["tags"][0]["name"], self.thumbnail(item)) for item in self.items())

    def thumbnail(self, item: dict[str, Any]) -> str:
        answer = self.web.client.get(f"/api/v1/images/{item['image_id']}/thumbnail")
        return colour_of(answer.data) if answer.mimetype == "image/jpeg" else "none"


@pytest.fixture
def drops(web: Web, cloud: Cloud) -> Iterator[Drops]:
    bucket, s3 = cloud.name("drops"), cloud.client("s3")
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
    web.backend.__dict__["source"] = S3Source(cloud.clients)  # where Backend keeps the one that it opens
    yield Drops(web, s3, bucket)
    web.client.application.extensions["tagfleet"].thumbnails.close()


@pytest.fixture
def versioned(drops: Drops) -> Drops:
    drops.s3.put_bucket_versioning(Bucket=drops.bucket, VersioningConfiguration={"Status": "Enabled"})
    return drops


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_without_versions_the_item_is_what_was_there(drops: Drops, order: tuple[int, ...]) -> None:
    puts = [drops.put("images/t/a.png", colour) for colour in ("red", "blue", "green")]
    events = [drops.event(put) for put in puts]
    drops.handle(*(events[number] for number in order))
    assert drops.tags_and_thumbnails() == [("green", "green")]
    drops.handle(*events)
    assert len(drops.items()) == 1


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("by", ["event", "bridged"])
def test_with_versions_each_event_is_about_its_own(versioned: Drops, by: str, order: tuple[int, ...]) -> None:
    puts = [versioned.put("images/t/a b+c.png", colour) for colour in ("red", "blue", "green")]
    events = [getattr(versioned, by)(put) for put in puts]
    versioned.handle(*(events[number] for number in order))
    assert versioned.tags_and_thumbnails() == [("blue", "blue"), ("green", "green"), ("red", "red")]
    assert {item["origin"] for item in versioned.items()} == {f"s3://{versioned.bucket}/images/t/a b+c.png"}
    versioned.handle(*events)
    assert len(versioned.items()) == 3


def test_a_version_is_read_though_the_file_was_deleted(versioned: Drops) -> None:
    event = versioned.event(versioned.put("images/t/a.png", "red"))
    versioned.s3.delete_object(Bucket=versioned.bucket, Key="images/t/a.png")
    versioned.handle(event)
    assert versioned.tags_and_thumbnails() == [("red", "red")]


def test_where_a_version_is_gone_what_is_there_now_is_read(versioned: Drops) -> None:
    first = versioned.put("images/t/a.png", "red")
    second = versioned.put("images/t/a.png", "blue")
    versioned.s3.delete_object(Bucket=versioned.bucket, Key="images/t/a.png", VersionId=first["versionId"])
    versioned.handle(versioned.event(first), versioned.event(second))
    assert versioned.tags_and_thumbnails() == [("blue", "blue")]


def test_a_failed_item_is_tried_again_by_what_it_was(versioned: Drops) -> None:
    """Not by what was put over it since, which has an item of its own."""
    web = versioned.web
    (job,) = parse_message(versioned.event(versioned.put("images/t/a.png", "red")), "resnet50").jobs
    job, _ = web.backend.originals.of_job(job)
    web.finish(web.result_of(job, error="a.png: broken").model_copy(update={"origin": job.origin}))
    web.collect()
    versioned.put("images/t/a.png", "blue")
    (item,) = versioned.items()
    assert web.client.post(f"/api/v1/batches/{item['batch_id']}/retry", json={}).json["retried"] == 1
    (again,) = web.jobs()
    _, data = web.backend.originals.of_job(again)
    assert colour_of(data) == "red"


def test_a_failed_item_that_was_overwritten_is_not_tried_by_another_picture(drops: Drops) -> None:
    web = drops.web
    (job,) = parse_message(drops.event(drops.put("images/t/a.png", "red")), "resnet50").jobs
    job, _ = web.backend.originals.of_job(job)
    web.finish(web.result_of(job, error="a.png: broken").model_copy(update={"origin": job.origin}))
    web.collect()
    drops.put("images/t/a.png", "blue")
    (item,) = drops.items()
    web.client.post(f"/api/v1/batches/{item['batch_id']}/retry", json={})
    (again,) = web.jobs()
    with pytest.raises(Unreadable, match="another file has replaced it"):
        web.backend.originals.of_job(again)


KEYS = ["images/t/a b.png", "images/my trip/a+b%20ü.png", "images/t/50%.png", "images/x/日本.png"]


@pytest.mark.parametrize("encoded", [str, quote, quote_plus])
@pytest.mark.parametrize("key", KEYS)
def test_eventbridges_keys_are_taken_as_they_are_and_decoded_where_nothing_is_there(
    drops: Drops, key: str, encoded: Callable[[str], str]
) -> None:
    """AWS does not encode them; other servers do."""
    put = drops.put(key, "red")
    drops.handle(drops.bridged(put, encoded), drops.event(put))
    (item,) = drops.items()
    assert item["origin"] == f"s3://{drops.bucket}/{key}"
    assert (item["name"], drops.thumbnail(item)) == (key.rpartition("/")[2], "red")


def test_a_file_of_another_name_is_not_taken_for_a_deleted_one(drops: Drops) -> None:
    """Its key reads like an encoded form of the other one's."""
    drops.put("images/t/a b.png", "blue")
    put = drops.put("images/t/a+b.png", "red")
    drops.s3.delete_object(Bucket=drops.bucket, Key="images/t/a+b.png")
    (job,) = parse_message(drops.bridged(put), "resnet50").jobs
    with pytest.raises(Exception, match="no object"):
        drops.web.backend.originals.of_job(job)
