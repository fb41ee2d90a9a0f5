"""The contract of the API: batches, results, errors, hosts and origins."""

from __future__ import annotations

import io
import json

import pytest


def test_a_batch_from_creation_to_completion(web):
    batch = web.batch(metadata={"album": "été"}, options={"top_k": 3})
    first, second = web.upload(batch, ("a.jpg", b"one"), ("b/c.jpg", b"two"))
    assert (first["status"], first["name"], first["bytes"]) == ("queued", "a.jpg", 3)
    assert web.get(f"/batches/{batch}")["status"] == "open"
    assert web.close(batch)["status"] == "queued"

    jobs = web.jobs()
    assert [(job.image_id, job.name, job.options.top_k) for job in jobs] == [
        (first["image_id"], "a.jpg", 3),
        (second["image_id"], "b/c.jpg", 3),
    ]
    assert [web.backend.store.get(job.key).data for job in jobs] == [b"one", b"two"]
    web.finish(web.result_of(jobs[0]))
    assert web.collect() == 1
    assert web.get(f"/batches/{batch}")["status"] == "in_progress"
    web.finish(web.result_of(jobs[1], error="c.jpg is no image"))
    web.collect()

    done = web.get(f"/batches/{batch}")
    assert done["status"] == "completed"
    assert done["completed_at"] is not None
    assert done["metadata"] == {"album": "été"}
    assert done["request_counts"] == {"total": 2, "completed": 2, "failed": 1, "cancelled": 0}
    item = web.get(f"/images/{first['image_id']}")
    assert item["tags"] == [{"name": "dog", "confidence": 0.5, "source": "model", "instances": []}]
    assert set(item["timings_ms"]) == {"queue", "fetch", "decode", "infer"}
    assert web.get(f"/images/{second['image_id']}")["error"] == "c.jpg is no image"


def test_closing_an_empty_batch_completes_it_and_twice_is_once(web):
    batch = web.batch()
    closed = web.close(batch)
    assert closed["status"] == "completed"
    web.clock.now += 60
    assert web.close(batch) == closed


def test_a_closed_batch_takes_nothing(web):
    batch = web.batch()
    web.close(batch)
    answer = web.send(batch, ("a.jpg", b"one"))
    assert answer.status_code == 409
    assert batch in answer.json["detail"]


def test_a_batch_that_closes_during_an_upload_keeps_nothing_of_it(web):
    batch = web.batch()
    body, kind = web.multipart([("a.jpg", b"one")])

    class Closing(io.BytesIO):
        """Somebody else closes the batch while the last bytes are read."""

        def readinto(self, buffer) -> int:
            web.catalog.close_batch(batch, 1.0)
            return super().readinto(buffer)

    answer = web.client.post(f"/api/v1/batches/{batch}/images", input_stream=Closing(body), content_type=kind)
    assert answer.status_code == 409
    assert list(web.backend.store.list("uploads/")) == []
    assert web.jobs() == []


def test_results_come_in_pages_in_upload_order(web):
    batch = web.batch()
    names = [f"{number}.jpg" for number in (3, 1, 4, 5, 9, 2)]
    for name in names:
        web.upload(batch, (name, name.encode()))
    found, cursor = [], 0
    while cursor is not None:
        page = web.get(f"/batches/{batch}/results?limit=4&cursor={cursor}")
        found += [item["name"] for item in page["results"]]
        cursor = page["next_cursor"]
    assert found == names


def test_results_by_status(web):
    batch = web.batch()
    web.upload(batch, ("good.jpg", b"one"), ("empty.jpg", b""))
    assert [item["name"] for item in web.get(f"/batches/{batch}/results?status=failed")["results"]] == ["empty.jpg"]
    assert [item["name"] for item in web.get(f"/batches/{batch}/results?status=queued")["results"]] == ["good.jpg"]
    assert web.get(f"/batches/{batch}/results?status=succeeded")["results"] == []


def test_batches_are_listed_newest_first(web):
    made = []
    for _ in range(5):
        web.clock.now += 1
        made.append(web.batch())
    page = web.get("/batches?limit=3")
    rest = web.get(f"/batches?limit=3&cursor={page['next_cursor']}")
    assert [batch["id"] for batch in page["batches"] + rest["batches"]] == made[::-1]
    assert rest["next_cursor"] is None


def test_an_idempotency_key_makes_one_batch(web):
    key = {"Idempotency-Key": "k1"}
    first = web.client.post("/api/v1/batches", json={"metadata": {"a": 1, "b": 2}}, headers=key)
    again = web.client.post("/api/v1/batches", json={"metadata": {"b": 2, "a": 1}}, headers=key)
    other = web.client.post("/api/v1/batches", json={"metadata": {"a": 2}}, headers=key)
    assert (first.status_code, again.status_code, other.status_code) == (201, 200, 422)
    assert first.json == again.json


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ('{"tagger": "nope"}', "nope"),
        ('{"options": {"top_k": 0}}', "options.top_k"),
        ('{"options": {"top_k": true}}', "options.top_k"),
        ('{"options": {"min_confidence": 1.5}}', "options.min_confidence"),
        ('{"speed": 9}', "speed"),
        ('{"metadata": {"a": NaN}}', "metadata"),
        ("[" * 100_000, "body"),
        ("{", "body"),
        ('{"metadata": {"a": "\\ud800"}}', "body"),
    ],
)
def test_a_wrong_batch_is_refused_by_name(web, body, named):
    answer = web.client.post("/api/v1/batches", data=body)
    assert answer.status_code == 422
    assert named in answer.json["detail"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("get", "/nothing/here", 404),
        ("get", "/api/v1/batches/bat_none", 404),
        ("post", "/api/v1/batches/bat_none/close", 404),
        ("post", "/api/v1/batches/bat_none/images", 404),
        ("get", "/api/v1/batches/bat_none/results", 404),
        ("get", "/api/v1/batches/bat_none/events", 404),
        ("get", "/api/v1/images/img_none", 404),
        ("get", "/api/v1/images/img_none/thumbnail", 404),
        ("delete", "/healthz", 405),
        ("get", "/api/v1/batches?limit=0", 422),
        ("get", "/api/v1/batches?limit=1001", 422),
    ],
)
def test_every_error_is_a_problem(web, method, path, status):
    answer = getattr(web.client, method)(path)
    assert answer.status_code == status
    assert answer.content_type == "application/problem+json"
    assert answer.json["status"] == status
    assert answer.json["detail"]
    assert answer.json["request_id"] == answer.headers["X-Request-Id"]


@pytest.mark.parametrize("cursor", ["x", "-1", "1e9", str(1 << 63), "9" * 5000])
def test_a_cursor_that_nobody_gave_is_refused(web, cursor):
    answer = web.client.get(f"/api/v1/batches/{web.batch()}/results?cursor={cursor}")
    assert answer.status_code == 422


def test_an_unforeseen_error_tells_nothing_but_its_id(web, budget, capsys):
    budget.calls, budget.error = 0, ZeroDivisionError
    answer = web.send(web.batch(), ("a.jpg", b"one"))
    assert answer.status_code == 500
    assert answer.content_type == "application/problem+json"
    assert "put" not in answer.text
    assert answer.json["request_id"]


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "192.168.0.4:8000", "[::2]", "a@b", ""])
def test_a_foreign_host_name_is_refused(web, host):
    """DNS rebinding: a page of another site reaches this machine by its own name."""
    assert web.client.get("/api/v1/batches", headers={"Host": host}).status_code in (400, 403)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST"])
def test_the_machine_s_own_names_are_served(web, host):
    assert web.client.get("/api/v1/batches", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:3000"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_page_of_another_origin_changes_nothing(web, headers):
    assert web.client.post("/api/v1/batches", json={}, headers=headers).status_code == 403
    assert web.get("/batches")["batches"] == []


def test_our_own_page_may(web):
    headers = {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}
    assert web.client.post("/api/v1/batches", json={}, headers=headers).status_code == 201


@pytest.mark.parametrize("path", ["/", "/healthz", "/nothing", "/api/v1/batches"])
def test_security_headers_are_everywhere(web, path):
    headers = web.client.get(path).headers
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"


def test_the_openapi_description_holds_together(web):
    spec = web.client.get("/openapi.json").json
    assert spec["openapi"].startswith("3.1")
    text = json.dumps(spec)
    references = {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]}
    assert references <= set(spec["components"]["schemas"])
    names = [operation["operationId"] for path in spec["paths"].values() for operation in path.values()]
    assert len(names) == len(set(names))
    for path, operations in spec["paths"].items():
        in_path = {part[1:-1] for part in path.split("/") if part.startswith("{")}
        for operation in operations.values():
            described = {p["name"] for p in operation["parameters"] if p["in"] == "path"}
            assert described == in_path
            assert all(response["description"] for response in operation["responses"].values())
    upload = spec["paths"]["/api/v1/batches/{batch_id}/images"]["post"]
    assert "multipart/form-data" in upload["requestBody"]["content"]
    assert "application/problem+json" in upload["responses"]["409"]["content"]
    assert not [path for path in spec["paths"] if path == "/"]


def test_health_and_metrics(web):
    batch = web.batch()
    web.upload(batch, ("a.jpg", b"one"), ("b.jpg", b""))
    assert web.client.get("/healthz").json == {"status": "ok"}
    assert web.client.get("/readyz").json == {"status": "ready"}
    metrics = web.client.get("/metrics").text
    assert 'tagfleet_queue_messages{queue="jobs-resnet50",state="visible"} 1.0' in metrics
    assert "tagfleet_images_accepted_total 2.0" in metrics
    assert 'tagfleet_images_finished_total{status="failed"} 1.0' in metrics
    fleet = web.get("/fleet")
    assert fleet["queues"]["resnet50"]["visible"] == 1
    assert web.get("/models")["models"] == [
        {"pool": "resnet50", "wanted": "resnet50", "serves": "", "state": "preparing", "notice": ""}
    ]


def test_readiness_names_what_does_not_answer(web, settings):
    (settings.home / "store" / "objects").rename(settings.home / "gone")
    answer = web.client.get("/readyz")
    assert answer.status_code == 503
    assert "store" in answer.json["detail"]
    assert web.client.get("/healthz").status_code == 200
