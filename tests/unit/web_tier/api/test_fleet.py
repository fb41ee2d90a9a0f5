"""The fleet for operators: pause, cap, drain, dead letters, history."""

from __future__ import annotations

import threading

import pytest

from core.errors import Unavailable
from core.fleet.decisions import DecisionRecord
from core.fleet.events import FleetEvent
from core.fleet.roster import Heartbeat, WorkerState
from core.storage import layout
from core.storage.ports import Depth
from web_tier.catalog.samples import EVERY_S, Sample, SampleCatalog
from web_tier.collector.sampler import Sampler
from web_tier.services.fleet_view import FleetView


def beat(web, worker: str = "w1", **said: object) -> None:
    words = {"state": WorkerState.IDLE, "seq": 1} | said
    web.backend.roster.beat(
        Heartbeat(worker_id=worker, pool="resnet50", tagger="t", at=0.0, state_since=0.0, started_at=0.0, **words)
    )


def bury(web) -> str:
    """Return a batch whose only image's job is a dead letter."""
    batch = web.batch()
    web.upload(batch, ("a.jpg", b"one"))
    queue = web.backend.jobs("resnet50")
    for _ in range(web.settings.queue.max_receives):
        queue.set_visibility(queue.receive(10, 0), 0)
    return batch


def post(web, path: str, **body: object):
    return web.client.post(f"/api/v1/fleet{path}", json=body)


def test_pause_and_resume(web):
    assert web.get("/fleet")["paused"] is False
    for _ in range(2):
        assert post(web, "/pause").json == {"paused": True}
    assert web.get("/fleet")["paused"] is True
    assert web.backend.roster.paused()
    for _ in range(2):
        assert post(web, "/resume").json == {"paused": False}
    assert not web.backend.roster.paused()


def test_draining_is_a_wish_to_a_worker_that_lives(web):
    beat(web)
    answer = post(web, "/workers/w1/drain")
    assert (answer.status_code, answer.json) == (202, {"worker_id": "w1"})
    assert web.backend.roster.drain_requests() == {"w1"}
    assert post(web, "/workers/w2/drain").json["detail"] == "there is no live worker 'w2'; there are w1"
    for nobody in ("w2", "..", "%2e%2e%2fpools", "w1%00"):
        answer = post(web, f"/workers/{nobody}/drain")
        assert (answer.status_code, answer.mimetype) == (404, "application/problem+json")
    assert web.backend.roster.drain_requests() == {"w1"}


def put_cap(web, body: object):
    return web.client.put("/api/v1/fleet/cap", json=body)


def test_a_cap_is_set_and_taken_back(web):
    ours = web.settings.controller.max_workers
    default = {"cap": ours, "cap_source": "settings"}
    assert {name: web.get("/fleet")[name] for name in default} == default
    for most in (0, 12):
        found = {"cap": most, "cap_source": "operator"}
        assert put_cap(web, {"max_workers": most}).json == found
        assert {name: web.get("/fleet")[name] for name in found} == found
        assert web.backend.roster.glance().cap == most
    for _ in range(2):
        assert put_cap(web, {"max_workers": None}).json == default
    assert web.backend.roster.glance().cap is None


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"max_workers": -1},
        {"max_workers": 10_001},
        {"max_workers": 1.5},
        {"max_workers": True},
        {"max_workers": "4"},
    ],
)
def test_a_cap_that_makes_no_sense_is_refused_by_name(web, body):
    answer = put_cap(web, body)
    assert answer.status_code == 422
    assert "max_workers" in answer.json["detail"]
    assert web.backend.roster.cap() is None


def test_a_cap_that_cannot_be_read_is_none(web):
    web.backend.store.put(layout.CAP, b"many")
    assert web.get("/fleet")["cap_source"] == "settings"


def test_the_changes_of_the_fleet_are_in_the_history(web):
    words = {"pool": "resnet50", "worker_id": "w1", "kind": "ready", "by": "itself", "reason": "1.6 s after its launch"}
    kept = tuple(FleetEvent(at=at, **words) for at in (1.0, 2.0))
    web.backend.roster.keep_events(kept)
    found = web.get("/fleet/history?after=1")["changes"]
    assert found == [words | {"at": 2.0, "offering": "", "controller": "", "decision": ""}]
    web.backend.store.put(layout.CHANGES, b"{}}")
    assert web.get("/fleet/history")["changes"] == []


def test_dead_letters_are_listed_and_stay(web):
    batch = bury(web)
    (image,) = web.get(f"/batches/{batch}/results")["results"]
    for _look in (1, 2):
        (letter,) = web.get("/fleet/dead-letters")["dead_letters"]
        assert letter.pop("sent_at") > 0
        assert letter == {
            "pool": "resnet50",
            "batch_id": batch,
            "image_id": image["image_id"],
            "name": "a.jpg",
            "received": web.settings.queue.max_receives,
        }
    assert web.backend.jobs("resnet50").depth().dead == 1


def test_dead_letters_come_in_pages(web):
    web.upload(web.batch(), *((f"{number}.jpg", b"%d" % number) for number in range(7)))
    web.give_up()
    names, cursor, pages = [], "", 0
    while cursor is not None:
        page = web.get(f"/fleet/dead-letters?limit=3{cursor and '&cursor='}{cursor}")
        names += [letter["name"] for letter in page["dead_letters"]]
        cursor, pages = page["next_cursor"], pages + 1
    assert (names, pages) == ([f"{number}.jpg" for number in range(7)], 3)


@pytest.mark.parametrize("cursor", ["resnet50", "resnet50:-1", "resnet50:1;", ":", "resnet50:" + "9" * 30])
def test_a_cursor_that_is_none_is_refused(web, cursor):
    answer = web.client.get("/api/v1/fleet/dead-letters", query_string={"cursor": cursor})
    assert answer.status_code == 422
    assert "cursor" in answer.json["errors"]


def test_a_cursor_of_a_pool_that_is_gone_finds_nothing(web):
    bury(web)
    assert web.get("/fleet/dead-letters?cursor=gone:0") == {"dead_letters": [], "next_cursor": None}


def test_a_dead_letter_that_is_no_job_says_so(web):
    queue = web.backend.jobs("resnet50")
    queue.send(["{}"])
    for _ in range(web.settings.queue.max_receives):
        queue.set_visibility(queue.receive(10, 0), 0)
    (letter,) = web.get("/fleet/dead-letters")["dead_letters"]
    assert (letter["batch_id"], letter["image_id"]) == ("", "")
    assert letter["name"].startswith("not a Job message: batch_id")


def test_a_redriven_image_gets_its_result_in_place_of_the_failure(web):
    batch = bury(web)
    web.collector.sweep()
    assert web.get(f"/batches/{batch}")["request_counts"]["failed"] == 1
    assert post(web, "/dead-letters/redrive").json == {"redriven": 1}
    assert post(web, "/dead-letters/redrive").json == {"redriven": 0}
    assert web.get("/fleet/dead-letters") == {"dead_letters": [], "next_cursor": None}
    web.finish(*map(web.result_of, web.jobs()))
    web.collect()
    assert web.get(f"/batches/{batch}")["request_counts"]["failed"] == 0


@pytest.mark.parametrize(
    ("body", "named"), [({"pool": "nope"}, "nope"), ({"speed": 1}, "speed"), ({"pool": 1}, "pool")]
)
def test_a_wrong_redrive_is_refused_by_name(web, body, named):
    bury(web)
    answer = post(web, "/dead-letters/redrive", **body)
    assert answer.status_code == 422
    assert named in answer.json["detail"]
    assert web.backend.jobs("resnet50").depth().dead == 1


def test_one_pools_dead_letters(web):
    bury(web)
    assert post(web, "/dead-letters/redrive", pool="resnet50").json == {"redriven": 1}


def sample(at: float, **values: object) -> Sample:
    return Sample(**{"at": at, "visible": 0, "in_flight": 0, "dead": 0, "workers": {}, "rate": 0.0} | values)


def test_the_history_is_the_last_hour_and_no_more(web):
    catalog = SampleCatalog(web.catalog.database)
    start = web.clock.now
    for number in range(1000):
        catalog.keep(sample(start + number * EVERY_S, visible=number))
    web.clock.now = start + 999 * EVERY_S
    shown = web.get("/fleet/history")["samples"]
    assert [one["visible"] for one in shown] == list(range(280, 1000))
    later = web.get(f"/fleet/history?after={start + 997 * EVERY_S}")["samples"]
    assert [one["visible"] for one in later] == [998, 999]
    web.clock.now += 3600
    assert web.get("/fleet/history")["samples"] == []


def test_of_two_hosts_samples_of_one_moment_one_is_kept(web):
    first, second = SampleCatalog(web.catalog.database), SampleCatalog(web.catalog.database)
    together = threading.Barrier(2)

    def keep(catalog: SampleCatalog, at: float) -> None:
        for number in range(20):
            together.wait()
            catalog.keep(sample(at + number * EVERY_S))

    threads = [
        threading.Thread(target=keep, args=(catalog, 1e9 + n)) for n, catalog in enumerate((first, second), start=1)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(first.after(0.0, 1e9 + 200)) == 20


def test_decisions_in_the_history(web):
    told = [DecisionRecord(at=at, pool="p", action="hold", reason="r", terms={"rule": "rest"}) for at in (1.0, 2.0)]
    web.backend.roster.keep_past_decisions(told)
    assert [one["at"] for one in web.get("/fleet/history")["decisions"]] == [1.0, 2.0]
    assert [one["at"] for one in web.get("/fleet/history?after=1")["decisions"]] == [2.0]


@pytest.mark.parametrize("after", ["-1", "nan", "inf", "x"])
def test_a_moment_that_is_none_is_refused(web, after):
    assert web.client.get(f"/api/v1/fleet/history?after={after}").status_code == 422


class Ticks:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def ticks() -> Ticks:
    return Ticks()


@pytest.fixture
def sampler(web, ticks) -> Sampler:
    view = FleetView(web.backend.roster, lost_after_s=15, clock=ticks)
    return Sampler(
        SampleCatalog(web.catalog.database), [web.backend.jobs("resnet50")], view, wall=web.clock, clock=ticks
    )


def test_samples_count_queues_workers_and_speed(web, ticks, sampler):
    web.upload(web.batch(), ("a.jpg", b"one"), ("b.jpg", b"two"), ("c.jpg", b"three"))
    web.backend.jobs("resnet50").receive(1, 0)
    beat(web, "w1", state=WorkerState.BUSY, images_done=1000)
    sampler.sample()
    ticks.now += 4
    web.clock.now += 5
    beat(web, "w1", seq=2, state=WorkerState.BUSY, images_done=1100, images_failed=20)
    beat(web, "w2", state=WorkerState.WARMING, images_done=0)
    sampler.sample()
    first, second = web.get("/fleet/history")["samples"]
    assert (first["visible"], first["in_flight"], first["workers"], first["rate"]) == (2, 1, {"busy": 1}, 0.0)
    assert (second["workers"], second["rate"]) == ({"busy": 1, "warming": 1}, 30.0)


def test_a_worker_that_leaves_makes_no_negative_speed(web, ticks, sampler):
    beat(web, "w1", images_done=500)
    sampler.sample()
    ticks.now += 5
    web.clock.now += 5
    web.backend.roster.forget(["w1"])
    sampler.sample()
    assert web.get("/fleet/history")["samples"][-1]["rate"] == 0.0


def test_while_a_queue_is_silent_samples_are_missing_and_then_they_come_again(web):
    stop = threading.Event()

    class Silent:
        looks = 0

        def depth(self) -> Depth:
            self.looks += 1
            if self.looks == 1:
                raise Unavailable("the queue does not answer")
            stop.set()
            return Depth(7, 0, 0, 0, 0.0)

    class Impatient(threading.Event):
        """Pauses of its owner take no time."""

        def is_set(self) -> bool:
            return stop.is_set()

        def wait(self, timeout: float | None = None) -> bool:
            return stop.is_set()

    view = FleetView(web.backend.roster, lost_after_s=15, clock=lambda: 0.0)
    Sampler(SampleCatalog(web.catalog.database), [Silent()], view, wall=web.clock).run(Impatient())
    assert [one["visible"] for one in web.get("/fleet/history")["samples"]] == [7]
