"""`tagfleet.testing`, as those use it who test their own programs."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

import tagfleet.testing
from tagfleet.client import Patience, Refused, Unreachable
from tagfleet.testing import Failed, Tagged, deployment

ROOT = Path(__file__).parents[4]


def upload(client, *names):
    """A closed batch of these photos."""
    batch = client.create_batch()
    client.upload(batch, [(name, io.BytesIO(name.encode())) for name in names])
    return client.close(batch)


def test_the_guides_examples_run(tmp_path):
    first, second = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "testing.md").read_text(), re.DOTALL)
    scope = {}
    exec(compile(first, "docs/testing.md", "exec"), scope)
    scope["test_my_album"](tmp_path)
    exec(compile(second, "docs/testing.md", "exec"), scope)


def test_what_is_public_can_be_imported():
    assert {name for name in tagfleet.testing.__all__ if hasattr(tagfleet.testing, name)} == set(
        tagfleet.testing.__all__
    )


def test_it_loads_neither_networks_nor_the_cloud():
    code = "import sys, tagfleet.testing; print([n for n in ('torch', 'openvino', 'boto3') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_the_tagger_answers_by_photo():
    answers = {
        "a.jpg": {"dog": 0.9, "ball": None},
        "b.jpg": Tagged({"cat": 0.5}, caption="A cat.", boxes={"cat": [[0, 0, 0.5, 0.5]]}),
        "c.jpg": Failed("c.jpg is damaged"),
    }
    with deployment(tagger=lambda photo: answers[photo.name]) as fleet:
        client = fleet.client()
        found = {item.name: item for item in client.stream(upload(client, *answers))}
    assert [(tag.name, tag.confidence) for tag in found["a.jpg"].tags] == [("dog", 0.9), ("ball", None)]
    assert (found["b.jpg"].caption, found["b.jpg"].tags[0].instances[0]["box"]) == ("A cat.", [0, 0, 0.5, 0.5])
    assert (found["c.jpg"].status, found["c.jpg"].error) == ("failed", "c.jpg is damaged")


def test_the_tagger_sees_the_photo_and_the_options_of_its_batch():
    seen = []
    with deployment(tagger=lambda photo: seen.append(photo) or {}, running=False) as fleet:
        batch_id = fleet.add_batch("", {"a.jpg": b"bytes"}, options={"top_k": 3})
        fleet.step()
    (photo,) = seen
    assert (photo.name, photo.content, photo.batch_id, dict(photo.options)) == (
        "a.jpg",
        b"bytes",
        batch_id,
        {"top_k": 3},
    )


def test_nothing_moves_but_by_steps():
    with deployment(tagger=lambda _photo: {"dog": 0.9}, running=False, now=1_800_000_000.0) as fleet:
        batch_id = fleet.add_batch("holiday", {"a.jpg": b"a"})
        http = fleet.http()
        assert http.get(f"/api/v1/batches/{batch_id}").json["request_counts"]["completed"] == 0
        fleet.clock.advance(60)
        fleet.close_batch(batch_id)
        batch = http.get(f"/api/v1/batches/{batch_id}").json
    assert (batch["status"], batch["created_at"]) == ("completed", "2027-01-15T08:00:00.000+00:00")
    assert batch["completed_at"] == "2027-01-15T08:01:00.000+00:00"


def test_the_clock_runs_until_it_is_set():
    clock = tagfleet.testing.Clock()
    assert abs(clock() - time.time()) < 60
    clock.set(5.0)
    clock.advance(2.5)
    assert clock() == 7.5


def test_a_photo_that_is_given_up_is_a_dead_letter():
    with deployment() as fleet:
        batch_id = fleet.add_batch("", {"a.jpg": b"a"}, close=True)
        fleet.give_up("a.jpg")
        client = fleet.client()
        (item,) = client.results(batch_id)
        assert "gave up after" in item.error
        assert fleet.http().post("/api/v1/fleet/dead-letters/redrive", json={}).json == {"redriven": 1}
        fleet.tag("a.jpg", {"dog": 0.9})
        (item,) = client.results(batch_id)
        assert (item.status, item.error) == ("succeeded", None)


def test_requests_are_kept_and_faults_come_in_their_order():
    with deployment() as fleet:
        fleet.faults.refuses_next("/models", 418, "a teapot")
        fleet.faults.answers_next("/models", 200, json={"models": []}, method="GET")
        url = f"{fleet.url}/api/v1/models"
        with httpx.Client() as http:
            first, second, third = http.get(url, headers={"X-Me": "1"}), http.get(url), http.get(url)
        assert (first.status_code, first.json()["detail"]) == (418, "a teapot")
        assert second.json() == {"models": []}
        assert [model["pool"] for model in third.json()["models"]] == ["resnet50"]
        assert fleet.faults.requests[0].headers["X-Me"] == "1"
        assert fleet.faults.count("/models", "GET") == 3


def test_requests_can_wait():
    with deployment() as fleet, httpx.Client() as http:
        url = f"{fleet.url}/api/v1/models"
        fleet.faults.delay("/models", 0.05)
        began = time.monotonic()
        http.get(url)
        assert time.monotonic() - began >= 0.05
        with fleet.faults.hold("/models"), pytest.raises(httpx.ReadTimeout):
            http.get(url, timeout=0.1)
        assert http.get(url).status_code == 200


def test_faults_can_be_cleared_while_requests_are_held():
    with deployment() as fleet, httpx.Client() as http:
        with fleet.faults.hold("/models"):
            fleet.faults.clear()
            assert http.get(f"{fleet.url}/api/v1/models", timeout=5).status_code == 200
        assert http.get(f"{fleet.url}/api/v1/models").status_code == 200


def test_a_broken_connection_may_hide_what_was_done():
    with deployment() as fleet:
        client = fleet.client(patience=Patience(total_s=0))
        fleet.faults.breaks_next("/batches", carried_out=True)
        with pytest.raises(tagfleet.client.ConnectionLost):
            client.create_batch()
        assert len(list(client.batches())) == 1
        fleet.faults.breaks_next("/batches")
        with pytest.raises(tagfleet.client.ConnectionLost):
            client.create_batch()
        assert len(list(client.batches())) == 1


def test_it_goes_away_and_comes_back_at_the_same_address():
    with deployment() as fleet:
        client = fleet.client(patience=Patience(total_s=0))
        client.create_batch()
        url = fleet.url
        fleet.stop()
        with pytest.raises(Unreachable):
            client.create_batch()
        fleet.start()
        assert fleet.url == url
        assert len(list(client.batches())) == 1


def test_a_part_may_be_unavailable():
    with deployment(running=False) as fleet:
        assert fleet.http().get("/readyz").status_code == 200
        fleet.backend.memory.queues.available = False
        answer = fleet.http().get("/readyz")
        assert answer.status_code == 503
        assert "set to be unavailable" in answer.json["detail"]


def test_it_asks_for_keys_where_the_settings_say_so():
    with deployment(settings={"web.require_keys": True}) as fleet:
        fleet.add_batch("holiday")
        with pytest.raises(Refused):
            fleet.client(api_key=None).create_batch()
        assert len(list(fleet.client(api_key=fleet.create_key("me")).batches())) == 1


def test_an_error_of_the_tests_own_tagger_is_raised_at_the_end():
    def broken(_photo):
        raise ZeroDivisionError("in the test")

    def use(fleet):
        client = fleet.client(patience=Patience(total_s=0))
        with pytest.raises(tagfleet.client.ClientError):  # nobody waits for tags that cannot come
            list(client.stream(upload(client, "a.jpg")))

    with pytest.raises(ZeroDivisionError, match="in the test"), deployment(tagger=broken) as fleet:
        use(fleet)


def test_waiting_for_a_photo_that_never_comes_names_those_that_wait():
    with deployment(running=False, patience_s=0.05) as fleet:
        fleet.add_batch("", {"a.jpg": b"a"})
        with pytest.raises(TimeoutError, match=r"photo 'b.jpg' to come; waiting photos: \['a.jpg'\]"):
            fleet.tag("b.jpg", {})


def test_a_request_that_comes_after_the_end_reaches_nothing():
    """The server may have taken its connection before."""
    with deployment() as fleet:
        late = fleet.http()
    with pytest.raises(ConnectionResetError):
        late.get("/readyz")
    assert not Path(fleet.settings.home).exists()
