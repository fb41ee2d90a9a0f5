"""Images that the service has already: recognised by their content, and added without their bytes."""

from __future__ import annotations

import hashlib

import pytest

from core.storage import layout


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def check(web, *hashes: str, batch: str | None = None) -> dict[str, str]:
    answer = web.client.post("/api/v1/images/check", json={"sha256": list(hashes), "batch_id": batch})
    assert answer.status_code == 200, answer.text
    return answer.json["known"]


def add(web, batch: str, *wanted: tuple[str, str]):
    images = [{"name": name, "sha256": sha256} for name, sha256 in wanted]
    return web.client.post(f"/api/v1/batches/{batch}/images/known", json={"images": images})


def test_what_is_here_is_recognised_in_one_batch_or_in_all(web):
    first, second = web.batch(), web.batch()
    (old,) = web.upload(first, ("a.jpg", b"one"))
    web.clock.now += 1
    (new,) = web.upload(second, ("b.jpg", b"one"))
    assert check(web, sha(b"one"), sha(b"two")) == {sha(b"one"): new["image_id"]}
    assert check(web, sha(b"one"), batch=first) == {sha(b"one"): old["image_id"]}
    assert check(web) == {}


def test_what_was_refused_is_not_here(web):
    batch = web.batch()
    web.upload(batch, ("empty.jpg", b""))
    assert check(web, sha(b"")) == {}
    assert add(web, batch, ("again.jpg", sha(b""))).json == {"images": [None]}


def test_a_known_image_is_added_and_tagged_without_its_bytes(web):
    first, second = web.batch(), web.batch(options={"top_k": 3})
    web.upload(first, ("a.jpg", b"one"))
    web.jobs()
    answer = add(web, second, ("holiday/b.jpg", sha(b"one")), ("c.jpg", sha(b"two")))
    assert answer.status_code == 201
    item, missing = answer.json["images"]
    assert missing is None
    assert (item["name"], item["batch_id"], item["bytes"], item["status"]) == ("holiday/b.jpg", second, 3, "queued")
    (job,) = web.jobs()
    assert (job.image_id, job.options.top_k) == (item["image_id"], 3)
    assert web.backend.store.get(job.key).data == b"one"

    web.client.delete(f"/api/v1/batches/{first}")
    assert web.backend.store.get(job.key).data == b"one", "each batch has bytes of its own"


def test_what_the_batch_has_is_not_added_again(web):
    batch = web.batch()
    (image,) = web.upload(batch, ("a.jpg", b"one"))
    web.jobs()
    answer = add(web, batch, ("a.jpg", sha(b"one")), ("b.jpg", sha(b"one")), ("b.jpg", sha(b"one")))
    same, other, twice = answer.json["images"]
    assert same["image_id"] == image["image_id"]
    assert other["image_id"] == twice["image_id"] != image["image_id"]
    assert [job.name for job in web.jobs()] == ["b.jpg"]
    keys = [info.key for info in web.backend.store.list(f"uploads/{batch}/")]
    assert len(keys) == 2, "nothing is stored that no image names"


def test_an_image_whose_bytes_are_gone_must_be_uploaded(web):
    first, second = web.batch(), web.batch()
    (image,) = web.upload(first, ("a.jpg", b"one"))
    web.backend.store.delete([layout.image_key(first, image["image_id"])])
    assert add(web, second, ("a.jpg", sha(b"one"))).json == {"images": [None]}
    assert web.get(f"/batches/{second}")["request_counts"]["total"] == 0


@pytest.mark.parametrize("calls", range(5))
def test_a_request_that_broke_off_can_be_sent_again(web, budget, calls):
    """Whichever part stops answering, each image ends up there once, with its job."""
    first, second = web.batch(), web.batch()
    web.upload(first, ("a.jpg", b"one"), ("b.jpg", b"two"))
    web.jobs()
    wanted = (("a.jpg", sha(b"one")), ("b.jpg", sha(b"two")))
    budget.calls = calls
    add(web, second, *wanted)
    budget.calls = 100
    assert None not in add(web, second, *wanted).json["images"]
    web.clock.now += 60
    web.collector.sweep()
    assert sorted({job.name for job in web.jobs()}) == ["a.jpg", "b.jpg"]
    assert web.get(f"/batches/{second}")["request_counts"]["total"] == 2


def test_many_known_images_are_taken_in_groups(web):
    first, second = web.batch(), web.batch()
    web.upload(first, ("a.jpg", b"one"))
    wanted = [(f"{number}.jpg", sha(b"one")) for number in range(205)]
    taken = add(web, second, *wanted).json["images"]
    assert [item["name"] for item in taken] == [name for name, _ in wanted]
    assert web.get(f"/batches/{second}")["request_counts"]["total"] == 205


@pytest.mark.parametrize("wrong", ["", "abc", "A" * 64, "g" * 64, "0" * 65, "0" * 64 + "\n"])
def test_what_is_no_sha256_is_refused_by_name(web, wrong):
    answer = web.client.post("/api/v1/images/check", json={"sha256": ["0" * 64, wrong]})
    assert answer.status_code == 422
    assert "sha256.1" in answer.json["detail"]


def test_a_batch_that_is_closed_or_not_there_takes_nothing(web):
    batch = web.batch()
    web.upload(batch, ("a.jpg", b"one"))
    web.close(batch)
    assert add(web, batch, ("b.jpg", sha(b"one"))).status_code == 409
    assert add(web, "bat_none", ("b.jpg", sha(b"one"))).status_code == 404
    answer = web.client.post("/api/v1/images/check", json={"sha256": [], "batch_id": "bat_none"})
    assert answer.status_code == 404
