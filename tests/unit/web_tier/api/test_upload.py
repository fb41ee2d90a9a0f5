"""Uploads: hostile names, limits, and what is kept when a step fails."""

from __future__ import annotations

import hashlib
import io

import pytest

from config.settings import Settings
from core.domain.messages import MAX_NAME
from core.errors import PartialSend
from web_tier.catalog.batches import Batch
from web_tier.http.multipart import parts
from web_tier.services.dispatch import Dispatch
from web_tier.services.ingest import Ingest

MB = 1 << 20


@pytest.fixture
def settings(settings: Settings) -> Settings:
    limits = settings.web.model_copy(update={"max_image_mb": 2, "max_request_mb": 8})
    return settings.model_copy(update={"web": limits})


@pytest.mark.parametrize(
    "name",
    [
        "holiday/b.jpg",
        "../../../etc/passwd",
        "/etc/passwd",
        "C:\\Users\\me\\a.jpg",
        'say "cheese".jpg',
        "it's; a=b.jpg",
        "été 🏖️ 日本.jpg",
        "a%22b%2F.jpg".replace("%22", "%25"),
        "x" * 300 + ".jpg",
        "‮gpj.exe",
        ".",
        "<img src=x onerror=alert(1)>",
    ],
)
def test_a_name_is_only_data(web, name):
    batch = web.batch()
    (image,) = web.upload(batch, (name, b"one"))
    assert image["name"] == name
    (job,) = web.jobs()
    assert job.name == name
    assert web.backend.store.get(job.key).data == b"one"
    assert web.get(f"/batches/{batch}/results")["results"][0]["name"] == name


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("nul\0.jpg", "nul�.jpg"),
        ("bell\x07\x1b[31m.jpg", "bell��[31m.jpg"),
        ("half \ud83d.jpg", "half ���.jpg"),
        ("y" * 5000, "y" * MAX_NAME),
        (" ", " "),
    ],
)
def test_a_name_that_cannot_be_shown_is_mended(web, sent, kept):
    (image,) = web.upload(web.batch(), (sent, b"one"))
    assert image["name"] == kept


def test_an_upload_that_breaks_off_leaves_nothing_half_done(web):
    batch = web.batch()
    body, kind = web.multipart([("a.jpg", b"one"), ("b.jpg", b"two")])
    answer = web.client.post(f"/api/v1/batches/{batch}/images", data=body[:-20], content_type=kind)
    assert answer.status_code == 400
    assert web.get(f"/batches/{batch}")["request_counts"]["total"] == 0
    assert list(web.backend.store.list("uploads/")) == []


def test_the_same_file_is_taken_once(web):
    batch = web.batch()
    first = web.upload(batch, ("a.jpg", b"one"), ("b.jpg", b"one"), ("a.jpg", b"one"))
    again = web.upload(batch, ("b.jpg", b"one"), ("a.jpg", b"two"), ("empty", b""))
    twice = web.upload(batch, ("empty", b""))
    assert first[0] == first[2]
    assert first[0]["image_id"] != first[1]["image_id"]
    assert again[0] == first[1]
    assert again[1]["image_id"] not in {image["image_id"] for image in first}
    assert twice == again[2:]
    assert web.get(f"/batches/{batch}")["request_counts"] == {"total": 4, "completed": 1, "failed": 1, "cancelled": 0}
    stored = {info.key.rpartition("/")[2] for info in web.backend.store.list("uploads/")}
    assert stored == {job.image_id for job in web.jobs()} == {image["image_id"] for image in [*first, again[1]]}


def test_small_files_of_a_request_are_stored_together_and_few_at_a_time(web, monkeypatch):
    store = web.backend.store
    groups: list[int] = []
    together = store._port.put_all
    monkeypatch.setattr(store._port, "put_all", lambda objects: (groups.append(len(objects)), together(objects)))
    web.upload(web.batch(), *((f"{number}.jpg", b"%d" % number * 50_000) for number in range(10, 85)))
    assert sum(groups) == 75
    assert [size * 100_000 <= 3 * MB for size in groups] == [True] * len(groups)
    assert len(groups) == 4


def test_the_same_file_may_be_in_two_batches(web):
    (one,) = web.upload(web.batch(), ("a.jpg", b"one"))
    (two,) = web.upload(web.batch(), ("a.jpg", b"one"))
    assert one["image_id"] != two["image_id"]


def test_a_file_that_is_too_large_fails_alone(web):
    batch = web.batch()
    large = bytes(2 * MB + 1)
    images = web.upload(batch, ("a.jpg", b"one"), ("large.jpg", large), ("b.jpg", b"two"), ("full.jpg", large[1:]))
    assert [image["status"] for image in images] == ["queued", "failed", "queued", "queued"]
    assert "large.jpg" in images[1]["error"]
    assert "2 MB" in images[1]["error"]
    assert "web.max_image_mb" in images[1]["error"]
    assert images[1]["bytes"] == len(large)
    assert images[1]["sha256"] == hashlib.sha256(large).hexdigest()
    assert images[3]["sha256"] == hashlib.sha256(large[1:]).hexdigest()
    assert [web.backend.store.get(job.key).data for job in web.jobs()] == [b"one", b"two", large[1:]]


def test_a_request_that_is_too_large_is_a_413(web):
    batch = web.batch()
    answer = web.send(batch, *((f"{number}.jpg", bytes(MB)) for number in range(9)))
    assert answer.status_code == 413
    assert "max_request_mb" in answer.json["detail"]


def test_unnamed_parts_get_a_name(web):
    body = (
        b'--B\r\nContent-Disposition: form-data; name="files"\r\n\r\none\r\n'
        b'--B\r\nContent-Disposition: form-data; name="files"; filename=""\r\n\r\ntwo\r\n'
        b'--B\r\nContent-Disposition: form-data; name="files"; filename=""\r\n\r\n\r\n'
        b"--B\r\nContent-Disposition: form-data; name=\"files\"; filename*=UTF-8''%C3%A9t%C3%A9.jpg\r\n\r\nthree\r\n"
        b"--B--\r\n"
    )
    batch = web.batch()
    answer = web.client.post(
        f"/api/v1/batches/{batch}/images", data=body, content_type="multipart/form-data; boundary=B"
    )
    assert [image["name"] for image in answer.json["images"]] == ["image-1", "image-2", "été.jpg"]


def test_parts_of_another_name_are_named_in_the_error(web):
    batch = web.batch()
    body, kind = web.multipart([("a.jpg", b"one")], field="photo")
    answer = web.client.post(f"/api/v1/batches/{batch}/images", data=body, content_type=kind)
    assert answer.status_code == 422
    assert "'photo'" in answer.json["detail"]


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data", "image/jpeg", ""])
def test_what_is_no_multipart_is_a_415(web, kind):
    batch = web.batch()
    answer = web.client.post(f"/api/v1/batches/{batch}/images", data=b"one", headers={"Content-Type": kind})
    assert answer.status_code == 415


def test_thousands_of_parts_in_one_request(web):
    batch = web.batch()
    images = web.upload(batch, *((f"{number}.jpg", b"%d" % number) for number in range(1501)))
    assert [image["name"] for image in images] == [f"{number}.jpg" for number in range(1501)]
    assert web.get(f"/batches/{batch}")["request_counts"]["total"] == 1501
    assert len(web.jobs()) == 1501


@pytest.mark.parametrize("calls", range(5))
def test_whatever_fails_at_any_point_an_accepted_image_has_one_result(web, budget, calls):
    """The upload's writes fail after `calls`; then the client tries again, the sweep runs, and workers work.

    Two large files are stored one by one, the small ones together.
    """
    batch = web.batch()
    files = [(f"{number}.jpg", b"%d" % number * (MB if number < 2 else 1)) for number in range(4)]
    budget.calls = calls
    answer = web.send(batch, *files)
    assert answer.status_code == (201 if calls >= 4 else 503)
    if answer.status_code == 503:
        assert answer.headers["Retry-After"]
        assert "does not answer" in answer.json["detail"]
    budget.calls = 1 << 30
    accepted = web.get(f"/batches/{batch}")["request_counts"]["total"]
    assert accepted == (4 if calls >= 3 else 0)

    web.upload(batch, *files)
    web.clock.now += 60
    web.collector.sweep()
    jobs = web.jobs()
    assert {job.name for job in jobs} == {name for name, _ in files}
    web.finish(*map(web.result_of, jobs))
    assert web.collect() == 4
    assert web.close(batch)["request_counts"] == {"total": 4, "completed": 4, "failed": 0, "cancelled": 0}
    assert [item["name"] for item in web.get(f"/batches/{batch}/results")["results"]] == [name for name, _ in files]
    web.clock.now += 60
    web.collector.sweep()
    assert web.jobs() == []


class Lossy:
    """A queue that accepts only every second message."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    def send(self, bodies: list[str]) -> None:
        self.sent += bodies[::2]
        raise PartialSend("jobs", list(range(1, len(bodies), 2)))


def test_what_a_partial_send_left_is_sent_by_the_sweep(web):
    queue = Lossy()
    dispatch = Dispatch(lambda _: queue, web.catalog)
    intake = Ingest(web.backend.store, web.catalog, dispatch, max_image_bytes=MB, clock=web.clock)
    batch: Batch = web.catalog.get_batch(web.batch())
    body, _ = web.multipart([(f"{number}.jpg", b"%d" % number) for number in range(5)])
    images = list(intake.take(batch, parts(io.BytesIO(body), "BOUND")))
    assert len(queue.sent) == 3
    web.collector.sweep()
    assert web.jobs() == [], "an upload that is still running is left alone"
    web.clock.now += 60
    web.collector.sweep()
    assert [job.image_id for job in web.jobs()] == [images[1].id, images[3].id]
