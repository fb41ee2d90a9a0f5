"""Dropped files: their results make a batch per folder, and the files stay where they are."""

from __future__ import annotations

import io
import json
from itertools import count

import pytest
from PIL import Image

from core.domain.addresses import split_address
from core.domain.messages import Job, Result, decode_job, decode_result, encode
from core.domain.notifications import parse_message
from core.errors import NotFound
from core.storage import layout, packs
from core.storage.ports import Admit, Blob, Etag
from web_tier.catalog.lifecycle import LifecycleCatalog

_sequence = count()


class Bucket:
    """A source of which everything is known."""

    def __init__(self) -> None:
        self.objects: dict[str, Blob] = {}

    def put(self, uri: str, data: bytes) -> str:
        etag = f"etag-{next(_sequence)}"
        self.objects[uri] = Blob(data, Etag(etag))
        return etag

    def read(self, uri: str, max_bytes: int, admit: Admit | None = None) -> Blob:
        if uri not in self.objects:
            raise NotFound(uri)
        return self.objects[uri]


@pytest.fixture
def web(web):
    web.bucket = Bucket()
    web.backend.__dict__["source"] = web.bucket  # where Backend keeps the one that it opens
    yield web
    web.client.application.extensions["tagfleet"].thumbnails.close()


def event(uri: str, etag: str, at: str = "2026-01-01T00:00:00Z") -> str:
    bucket, key = split_address(uri)
    found = {"key": key.replace(" ", "+"), "size": 9, "eTag": etag}
    s3 = {"bucket": {"name": bucket}, "object": found}
    record = {"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "eventTime": at, "s3": s3}
    return json.dumps({"Records": [record]})


def job_of(body: str, sha256: str) -> Job:
    """As a worker has it that has read the file."""
    (job,) = parse_message(body, "resnet50").jobs
    return job.model_copy(update={"origin": job.origin.model_copy(update={"sha256": sha256, "bytes": 9})})


def drop(web, name: str, content: bytes = b"content", **at: str) -> Job:
    uri = f"s3://input/images/{name}"
    return job_of(event(uri, web.bucket.put(uri, content), **at), content.hex())


def tagged(web, *jobs: Job, error: str | None = None) -> None:
    web.finish(*(web.result_of(job, error=error).model_copy(update={"origin": job.origin}) for job in jobs))


def batches(web) -> dict[str, dict]:
    return {batch["metadata"].get("title"): batch for batch in web.get("/batches")["batches"]}


def test_each_folder_is_a_batch_and_each_file_an_item(web):
    tagged(web, drop(web, "my trip/a b.jpg"), drop(web, "my trip/x/c.jpg", b"2"), drop(web, "d.jpg", b"3"))
    assert web.collect() == 3
    trip, loose = batches(web)["my trip"], batches(web)["images"]
    assert trip["metadata"]["source"] == "s3://input/images/my trip/"
    assert (trip["status"], trip["request_counts"]["completed"]) == ("completed", 2)
    assert [item["name"] for item in web.get(f"/batches/{loose['id']}/results")["results"]] == ["d.jpg"]
    item = web.get(f"/batches/{trip['id']}/results")["results"][0]
    assert (item["origin"], item["bytes"], item["sha256"]) == ("s3://input/images/my trip/a b.jpg", 9, b"content".hex())
    assert [tag["name"] for tag in item["tags"]] == ["dog"]


def test_a_duplicate_changes_nothing_and_a_replaced_file_is_another_item(web):
    job = drop(web, "t/a.jpg")
    tagged(web, job, job)
    assert web.collect() == 1
    tagged(web, job)
    assert web.collect() == 0
    tagged(web, drop(web, "t/a.jpg", b"content"))  # put once more as it was, with another etag
    assert web.collect() == 0
    tagged(web, drop(web, "t/a.jpg", b"new"))
    assert web.collect() == 1
    assert batches(web)["t"]["request_counts"]["total"] == 2


def test_the_thumbnail_comes_from_where_the_file_lies_and_is_never_of_another_picture(web):
    out = io.BytesIO()
    Image.new("RGB", (40, 20), "red").save(out, "JPEG")
    first, gone, replaced = (drop(web, f"t/{name}.jpg", out.getvalue() + name.encode()) for name in "abc")
    tagged(web, first, gone, replaced)
    web.collect()
    del web.bucket.objects[gone.key]
    drop(web, "t/c.jpg", out.getvalue())
    kinds = [web.client.get(f"/api/v1/images/{job.image_id}/thumbnail").mimetype for job in (first, gone, replaced)]
    assert kinds == ["image/jpeg", "image/svg+xml", "image/svg+xml"]


def test_a_failed_file_is_tried_again_where_it_lies(web):
    job = drop(web, "t/a.jpg")
    tagged(web, job, error="a.jpg: broken")
    web.collect()
    batch = batches(web)["t"]["id"]
    answer = web.client.post(f"/api/v1/batches/{batch}/retry", json={})
    assert answer.json["retried"] == 1
    assert answer.json["batch"]["status"] == "queued"
    (again,) = web.jobs()
    assert (again.key, again.image_id, again.attempt) == (job.key, job.image_id, 1)
    web.finish(web.result_of(again))
    web.collect()
    assert batches(web)["t"]["request_counts"] == {"total": 1, "completed": 1, "failed": 0, "cancelled": 0}


def test_a_batch_of_dropped_files_cannot_be_cancelled_or_uploaded_to(web):
    tagged(web, drop(web, "t/a.jpg"))
    web.collect()
    batch = batches(web)["t"]["id"]
    answer = web.client.post(f"/api/v1/batches/{batch}/cancel")
    assert answer.status_code == 409
    assert "the files stay where they are" in answer.json["detail"]
    assert web.send(batch, ("b.jpg", b"b")).status_code == 409


def test_a_deleted_batch_comes_back_with_what_is_dropped_later_and_with_nothing_else(web):
    job = drop(web, "t/a.jpg")
    tagged(web, job)
    web.collect()
    batch = batches(web)["t"]["id"]
    assert web.client.delete(f"/api/v1/batches/{batch}").status_code == 204
    assert job.key in web.bucket.objects
    tagged(web, job, drop(web, "t/b.jpg", b"b"))  # both were dropped before
    assert web.collect() == 0
    assert "t" not in batches(web)
    tagged(web, drop(web, "t/c.jpg", b"c", at="2100-01-01T00:00:00Z"))
    assert web.collect() == 1
    assert batches(web)["t"]["request_counts"]["total"] == 1
    web.clock.now += 100
    web.collector.sweep()
    assert len(web.get(f"/batches/{batch}/results")["results"]) == 1


def test_a_batch_that_begins_anew_holds_nothing_of_what_was_still_to_be_removed(web):
    """Its images are hidden by the deletion, which beginning anew takes back."""
    files = [drop(web, f"t/{number}.jpg", b"%d" % number) for number in range(3)]
    tagged(web, *files)
    web.collect()
    batch = batches(web)["t"]["id"]
    LifecycleCatalog(web.catalog.database).delete(batch, web.clock.now)  # and the process is killed
    tagged(web, drop(web, "t/new.jpg", b"new", at="2100-01-01T00:00:00Z"))
    assert web.collect() == 1
    assert [item["name"] for item in web.get(f"/batches/{batch}/results")["results"]] == ["new.jpg"]
    assert batches(web)["t"]["request_counts"]["total"] == 1
    web.clock.now += 100
    web.collector.sweep()
    results = [info.key for info in web.backend.store.list(f"results/{batch}/")]
    assert len(results) == 1, "that of the new file, which is not of the deleted batch"
    assert len(web.get(f"/batches/{batch}/results")["results"]) == 1


def test_a_file_dropped_before_the_deletion_stays_out_even_if_the_batch_has_begun_anew(web):
    first, late = drop(web, "t/a.jpg"), drop(web, "t/late.jpg", b"late")
    tagged(web, first)
    web.collect()
    batch = batches(web)["t"]["id"]
    web.client.delete(f"/api/v1/batches/{batch}")
    tagged(web, drop(web, "t/new.jpg", b"new", at="2100-01-01T00:00:00Z"))
    assert web.collect() == 1
    tagged(web, late)  # its worker took its time
    assert web.collect() == 0
    assert [item["name"] for item in web.get(f"/batches/{batch}/results")["results"]] == ["new.jpg"]
    assert layout.result_key(batch, late.image_id) not in [
        info.key for info in web.backend.store.list(f"results/{batch}/")
    ]


def test_a_notification_among_the_dead_letters_is_a_failed_item(web):
    uri = "s3://input/images/t/a.jpg"
    queue = web.backend.jobs(web.settings.default_pool)
    queue.send([event(uri, web.bucket.put(uri, b"x"))])
    while deliveries := queue.receive(1, 0):
        queue.set_visibility(deliveries, 0)
    web.collector.sweep()
    (item,) = web.get(f"/batches/{batches(web)['t']['id']}/results")["results"]
    assert "gave up after" in item["error"]


def test_what_only_the_store_was_to_know_never_reaches_the_catalogue(web):
    """A job whose sender waits for its result in the store gets one there, even as a dead letter."""

    job = Job(batch_id="run_a", image_id="1", key="s3://b/k", name="k", tagger="p", submitted_at=0.0, store_only=True)
    queue = web.backend.jobs(web.settings.default_pool)
    queue.send([encode(job)])
    while deliveries := queue.receive(1, 0):
        queue.set_visibility(deliveries, 0)
    web.collector.sweep()
    assert "gave up" in str(decode_result(web.backend.store.get(layout.result_key("run_a", "1")).data).error)
    assert web.get("/batches")["batches"] == []


def test_a_dead_letter_whose_result_is_in_a_pack_is_deleted(web):
    """Its worker was killed after it had stored the pack, on the job's last delivery."""
    packed, other = (
        Job(
            batch_id="run_a",
            image_id=packs.image_id(1, position),
            key="s3://b/k",
            name="k",
            tagger="p",
            submitted_at=0.0,
            store_only=True,
            pack=True,
        )
        for position in (3, 4)
    )
    result = Result(batch_id="run_a", image_id=packed.image_id, name="k", tagger="t", worker="w")
    web.backend.store.put_all(packs.make_packs([(result, encode(result))]))
    queue = web.backend.jobs(web.settings.default_pool)
    queue.send([encode(packed), encode(other)])
    while deliveries := queue.receive(2, 0):
        queue.set_visibility(deliveries, 0)
    web.collector.sweep()
    (letter,) = queue.dead_letters().peek(10)
    assert decode_job(letter.body) == other
    found = {found.positions: found.is_pack for found in packs.list_results(web.backend.store, "run_a", 1)}
    assert found == {(4,): False, (3,): True}


def test_batches_are_listed_by_their_making_page_by_page(web):
    made = []
    for number in range(4):
        web.clock.now += 1
        if number == 1:
            tagged(web, drop(web, "t/a.jpg"))
            web.collect()
            made.append(batches(web)["t"]["id"])
        else:
            made.append(web.batch())
    found, cursor = [], ""
    while page := web.get(f"/batches?limit=2{cursor}")["batches"]:
        found += [batch["id"] for batch in page]
        cursor = f"&cursor={found[-1]}"
    assert found == made[::-1]
