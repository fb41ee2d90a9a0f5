"""`Prefer: wait`: a request prefer_wait for its result, in bounds."""

from __future__ import annotations

import threading

import pytest

from web_tier.http.prefer_wait import PreferWait


def test_a_close_that_prefers_to_wait_answers_with_the_end(web):
    batch = web.batch()
    web.upload(batch, ("a.jpg", b"1"))
    (job,) = web.jobs()
    answers = []

    def close() -> None:
        client = web.client.application.test_client()
        answers.append(client.post(f"/api/v1/batches/{batch}/close", headers={"Prefer": "wait=60"}))

    waiting = threading.Thread(target=close)
    waiting.start()
    web.finish(web.result_of(job))
    web.collect()
    waiting.join(timeout=120)
    (answer,) = answers
    assert answer.json["status"] == "completed"
    assert answer.headers["Preference-Applied"] == "wait=60"


def test_an_upload_that_prefers_to_wait_brings_its_tags(web):
    batch = web.batch()
    (known,) = web.upload(batch, ("a.jpg", b"1"))
    web.finish(*map(web.result_of, web.jobs()))
    web.collect()
    body, kind = web.multipart([("a.jpg", b"1")])
    answer = web.client.post(
        f"/api/v1/batches/{batch}/images", data=body, content_type=kind, headers={"Prefer": "wait=5"}
    )
    assert answer.headers["Preference-Applied"] == "wait=5"
    (item,) = answer.json["images"]
    assert (item["image_id"], item["tags"][0]["name"]) == (known["image_id"], "dog")


@pytest.mark.parametrize("prefer", ["", "respond-async", "wait", "wait=soon", "wait=-1", "wait=²"])
def test_a_preference_that_says_nothing_of_waiting_changes_nothing(web, prefer):
    answer = web.client.get(f"/api/v1/batches/{web.batch()}", headers={"Prefer": prefer})
    assert answer.status_code == 200
    assert "Preference-Applied" not in answer.headers


class FakeClock:
    """A clock that moves only by its own pauses."""

    def __init__(self) -> None:
        self.now = 0.0

    def read(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize(
    ("prefer", "waited"), [("wait=10", 10), ("respond-async, wait=2", 2), ("wait=99999999999", 60)]
)
def test_a_wait_has_an_end(web, prefer, waited):
    clock = FakeClock()
    prefer_wait = PreferWait(1, stopping=lambda: False, clock=clock.read, pause=clock.pause)
    with web.client.application.test_request_context(headers={"Prefer": prefer}):
        assert prefer_wait.until(lambda: False) == {"Preference-Applied": f"wait={waited}"}
    assert clock.now == pytest.approx(waited, abs=0.2)


def test_a_wait_ends_with_the_server_and_needs_a_free_seat(web):
    clock = FakeClock()
    prefer_wait = PreferWait(1, stopping=lambda: True, clock=clock.read, pause=clock.pause)
    with web.client.application.test_request_context(headers={"Prefer": "wait=10"}):
        inner: list[dict[str, str]] = []
        assert prefer_wait.until(lambda: not inner.append(prefer_wait.until(lambda: True)))
    assert inner == [{}], "the seat is taken by the wait around it"
    assert clock.now == 0.0
