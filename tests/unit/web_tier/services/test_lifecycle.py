"""Batches that are cancelled, retried, deleted, left open by their owners, or too old."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as bounded
from hypothesis import strategies as st

from config.settings import Settings
from core.domain.messages import encode
from core.storage import layout
from web_tier.catalog.batches import Batch, Upload
from web_tier.catalog.lifecycle import LifecycleCatalog
from web_tier.catalog.results import ImageOutcome
from web_tier.services.lifecycle import DAY_S, Housekeeping, purge


def post(web, path: str, **body: object):
    return web.client.post(f"/api/v1{path}", json=body)


def statuses(web, batch: str) -> dict[str, str]:
    return {item["name"]: item["status"] for item in web.get(f"/batches/{batch}/results")["results"]}


def stored(web, batch: str) -> list[str]:
    return [info.key for prefix in layout.batch_prefixes(batch) for info in web.backend.store.list(prefix)]


# --- cancel -----------------------------------------------------------------------------------


def test_a_cancelled_batch_keeps_its_results_and_ignores_late_ones(web):
    batch = web.batch()
    web.upload(batch, ("done.jpg", b"1"), ("late.jpg", b"2"), ("never.jpg", b"3"), ("empty.jpg", b""))
    done, late, _ = web.jobs()
    web.finish(web.result_of(done))
    web.collect()
    before = web.get(f"/batches/{batch}")

    cancelled = post(web, f"/batches/{batch}/cancel").json
    assert cancelled["status"] == "cancelled"
    assert cancelled["request_counts"] == {"total": 4, "completed": 4, "failed": 1, "cancelled": 2}
    assert cancelled["cancelled_at"] == cancelled["completed_at"] == cancelled["closed_at"] != before["closed_at"]

    web.finish(web.result_of(late))
    assert web.collect() == 0
    assert web.collector.reconcile(quiet_s=0) == 0
    assert statuses(web, batch) == {
        "done.jpg": "succeeded",
        "late.jpg": "cancelled",
        "never.jpg": "cancelled",
        "empty.jpg": "failed",
    }
    assert [item["name"] for item in web.get(f"/batches/{batch}/results?status=cancelled")["results"]] == [
        "late.jpg",
        "never.jpg",
    ]
    assert layout.cancelled_key(batch) in stored(web, batch), "workers drop the jobs that are left"
    assert web.send(batch, ("more.jpg", b"4")).status_code == 409
    assert 'tagfleet_images_finished_total{status="cancelled"} 2.0' in web.client.get("/metrics").text


def test_a_batch_is_cancelled_while_the_store_is_away(web, budget):
    batch = web.batch()
    web.upload(batch, ("a.jpg", b"1"))
    budget.calls = 0
    assert post(web, f"/batches/{batch}/cancel").json["status"] == "cancelled"


def test_who_follows_a_batch_sees_each_image_cancelled_and_the_end(web):
    batch = web.batch()
    web.upload(batch, *((f"{number}.jpg", b"%d" % number) for number in range(3)))
    seen = web.catalog.read_change(batch)
    post(web, f"/batches/{batch}/cancel")
    stream = web.client.get(f"/api/v1/batches/{batch}/events?last_event_id={seen}").text
    assert stream.count("event: item") == 3
    assert stream.count('"status":"cancelled"') == 3 + 2
    assert "event: completed" in stream


def test_a_batch_that_has_ended_is_not_cancelled(web):
    batch = web.batch()
    web.upload(batch, ("empty.jpg", b""))
    completed = web.close(batch)
    web.clock.now += 5
    assert post(web, f"/batches/{batch}/cancel").json == completed


def test_cancelling_twice_is_once_and_an_empty_batch_can_be_cancelled(web):
    batch = web.batch()
    cancelled = post(web, f"/batches/{batch}/cancel").json
    assert cancelled["status"] == "cancelled"
    web.clock.now += 5
    assert post(web, f"/batches/{batch}/cancel").json == cancelled


# --- retry ------------------------------------------------------------------------------------


def test_failed_images_are_tagged_anew(web):
    batch = web.batch()
    web.upload(batch, ("good.jpg", b"1"), ("bad.jpg", b"2"), ("empty.jpg", b""))
    web.close(batch)
    good, bad = web.jobs()
    web.finish(web.result_of(good), web.result_of(bad, error="out of memory"))
    web.collect()
    assert web.get(f"/batches/{batch}")["status"] == "completed"

    web.clock.now += 60
    answer = post(web, f"/batches/{batch}/retry").json
    assert answer["retried"] == 1
    assert answer["batch"]["status"] == "in_progress"
    assert answer["batch"]["completed_at"] is None
    assert answer["batch"]["request_counts"] == {"total": 3, "completed": 2, "failed": 1, "cancelled": 0}
    item = web.get(f"/images/{bad.image_id}")
    assert (item["status"], item["error"], item["tagger"]) == ("queued", None, None)

    (again,) = web.jobs()
    assert (again.image_id, again.attempt, again.submitted_at) == (bad.image_id, 1, web.clock.now)
    assert layout.result_key(batch, bad.image_id) not in stored(web, batch), "a worker would send it again"
    web.finish(web.result_of(again))
    assert web.collect() == 1
    done = web.get(f"/batches/{batch}")
    assert done["status"] == "completed"
    assert done["request_counts"] == {"total": 3, "completed": 3, "failed": 1, "cancelled": 0}
    assert statuses(web, batch) == {"good.jpg": "succeeded", "bad.jpg": "succeeded", "empty.jpg": "failed"}


def test_a_result_of_an_earlier_attempt_no_longer_counts(web):
    batch = web.batch()
    web.upload(batch, ("a.jpg", b"1"))
    (job,) = web.jobs()
    web.finish(web.result_of(job, error="out of memory"))
    web.collect()
    post(web, f"/batches/{batch}/retry")
    web.finish(web.result_of(job, error="the same message, delivered twice"))
    assert web.collect() == 0
    assert web.get(f"/images/{job.image_id}")["status"] == "queued"


def test_a_dead_letter_tried_again_does_not_fail_by_the_old_letter(web):
    batch = web.batch()
    web.upload(batch, ("a.jpg", b"1"))
    web.give_up()
    web.collector.sweep()
    assert statuses(web, batch) == {"a.jpg": "failed"}
    assert post(web, f"/batches/{batch}/retry").json["retried"] == 1
    web.collector.sweep()
    assert statuses(web, batch) == {"a.jpg": "queued"}
    (again,) = web.jobs()
    web.finish(web.result_of(again))
    web.collect()
    assert statuses(web, batch) == {"a.jpg": "succeeded"}


def test_only_the_named_images_are_tried_again(web):
    batch, other = web.batch(), web.batch()
    first, second = web.upload(batch, ("a.jpg", b"1"), ("b.jpg", b"2"))
    (strange,) = web.upload(other, ("c.jpg", b"3"))
    web.finish(*(web.result_of(job, error="out of memory") for job in web.jobs()))
    web.collect()
    named = [second["image_id"], strange["image_id"], "img_none"]
    assert post(web, f"/batches/{batch}/retry", image_ids=named).json["retried"] == 1
    assert [job.image_id for job in web.jobs()] == [second["image_id"]]
    assert web.get(f"/images/{first['image_id']}")["status"] == "failed"
    assert web.get(f"/images/{strange['image_id']}")["status"] == "failed"


def test_a_retry_whose_jobs_were_not_sent_is_finished_by_the_sweep(web, budget):
    batch = web.batch()
    web.upload(batch, ("a.jpg", b"1"))
    (job,) = web.jobs()
    web.finish(web.result_of(job, error="out of memory"))
    web.collect()
    budget.calls = 1  # enough to delete the old result
    assert post(web, f"/batches/{batch}/retry").status_code == 503
    budget.calls = 100
    web.clock.now += 60
    web.collector.sweep()
    (again,) = web.jobs()
    assert (again.image_id, again.attempt) == (job.image_id, 1)


def test_nothing_of_a_cancelled_batch_is_tried_again(web):
    batch = web.batch()
    web.upload(batch, ("a.jpg", b"1"), ("b.jpg", b"2"))
    (job, _) = web.jobs()
    web.finish(web.result_of(job, error="out of memory"))
    web.collect()
    post(web, f"/batches/{batch}/cancel")
    answer = post(web, f"/batches/{batch}/retry")
    assert answer.status_code == 409
    assert "was cancelled" in answer.json["detail"]


# --- whatever the order -----------------------------------------------------------------------


@bounded(
    deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(steps=st.lists(st.sampled_from(["fail", "succeed", "lose", "retry", "cancel", "close"]), max_size=10))
def test_counts_and_numbers_hold_whatever_becomes_of_a_batch(web, steps):
    """Counts fit the items after every step, and no two items ever share a change number."""
    web.clock.now += 1
    lives = LifecycleCatalog(web.catalog.database)
    batch = web.catalog.create_batch(
        Batch(f"bat_{web.clock.now}", "p", {}, {}, 0.0, None, None, 0, 0, 0, 0), payload_hash=""
    )[0]
    ids = [f"{batch.id}-{number}" for number in range(4)]
    web.catalog.add_images(batch.id, [Upload(id_, id_, id_, 1) for id_ in ids], 0.0)
    for number, step in enumerate(steps):
        before = web.catalog.get_batch(batch.id)
        if step == "close":
            web.catalog.close_batch(batch.id, 1.0)
        elif step == "cancel":
            lives.cancel(batch.id, 1.0)
        elif step == "retry":
            if before.cancelled_at is None:
                lives.retry(batch.id, lives.failed_images(batch.id)[:2], 1.0)
        else:
            image = web.catalog.find_image(ids[number % len(ids)])
            error = None if step == "succeed" else "broken"
            lost = step == "lose"
            outcome = ImageOutcome(
                batch.id, image.id, image.name, error, [], None, None, "t", 1.0, image.attempt, provisional=lost
            )
            web.catalog.record([outcome], 1.0)
        after = web.catalog.get_batch(batch.id)
        items = web.catalog.list_changes(batch.id, 0, 100)
        found = [item.status for item in items]
        assert after.failed == found.count("failed")
        assert after.cancelled == found.count("cancelled")
        assert after.completed == len(found) - found.count("received")
        assert after.ended == (after.closed_at is not None and not any(item.is_waiting for item in items))
        assert len({item.change for item in items}) == len(items)
        assert max(item.change for item in items) <= after.change
        assert after.change >= before.change


# --- deletion ---------------------------------------------------------------------------------


def test_a_deleted_batch_leaves_nothing_and_the_others_everything(web):
    batch, other = web.batch(), web.batch()
    (image,) = web.upload(batch, ("a.jpg", b"1"))
    web.upload(other, ("a.jpg", b"1"))
    web.backend.store.put(layout.thumbnail_key(batch, image["image_id"]), b"small")
    web.finish(*map(web.result_of, web.jobs()))
    web.collect()
    kept = stored(web, other)
    assert len(kept) == 2

    answer = web.client.delete(f"/api/v1/batches/{batch}")
    assert (answer.status_code, answer.data) == (204, b"")
    assert stored(web, batch) == []
    assert stored(web, other) == kept
    for path in ("", "/results", "/events"):
        assert web.client.get(f"/api/v1/batches/{batch}{path}").status_code == 404
    assert web.client.get(f"/api/v1/images/{image['image_id']}").status_code == 404
    assert web.client.delete(f"/api/v1/batches/{batch}").status_code == 404
    assert web.send(batch, ("b.jpg", b"2")).status_code == 404
    assert [found["id"] for found in web.get("/batches")["batches"]] == [other]
    assert "tagfleet_images_accepted_total 2.0" in web.client.get("/metrics").text, "a counter never falls"


def test_a_key_of_a_deleted_batch_makes_a_new_one(web):
    key = {"Idempotency-Key": "k1"}
    first = web.client.post("/api/v1/batches", json={}, headers=key).json["id"]
    web.client.delete(f"/api/v1/batches/{first}")
    again = web.client.post("/api/v1/batches", json={}, headers=key)
    assert again.status_code == 201
    assert again.json["id"] != first


def test_what_comes_for_a_deleted_batch_is_removed_and_what_is_strange_is_not(web):
    batch = web.batch()
    web.upload(batch, ("a.jpg", b"1"))
    (job,) = web.jobs()
    strange = job.model_copy(update={"batch_id": "bat_strange"})
    web.client.delete(f"/api/v1/batches/{batch}")
    web.finish(web.result_of(job), web.result_of(strange))
    assert web.collect() == 0
    assert stored(web, batch) == []
    assert len(stored(web, "bat_strange")) == 1
    assert web.backend.results.depth().outstanding == 0


def test_a_deletion_that_broke_off_is_finished_by_the_sweep(web, budget):
    batch = web.batch()
    web.upload(batch, ("a.jpg", b"1"))
    budget.calls = 0
    assert web.client.delete(f"/api/v1/batches/{batch}").status_code == 204
    budget.calls = 100
    assert len(stored(web, batch)) == 1
    web.collector.sweep()
    assert len(stored(web, batch)) == 1, "what is under way may still come to an end"
    web.clock.now += 61
    web.collector.sweep()
    assert stored(web, batch) == []


def test_of_a_large_batch_the_sweeps_remove_the_rest(web):
    keys = [layout.image_key("bat_1", f"img_{number}") for number in range(250)]
    for key in keys:
        web.backend.store.put(key, b"1")
    assert purge(web.backend.store, "bat_1", 120) == 120
    assert [info.key for info in web.backend.store.list("uploads/bat_1/")] == sorted(keys)[120:]
    assert purge(web.backend.store, "bat_1", 200) == 130
    assert purge(web.backend.store, "bat_1", 200) == 0


def test_what_was_under_way_at_the_deletion_is_removed_later(web):
    batch = web.batch()
    web.client.delete(f"/api/v1/batches/{batch}")
    web.backend.store.put(layout.thumbnail_key(batch, "img_1"), b"made just then")
    web.clock.now += 61
    web.collector.sweep()
    assert stored(web, batch) == []


# --- batches that nobody uses -----------------------------------------------------------------


def test_a_batch_left_open_is_closed_and_ends_as_expired(web):
    batch = web.batch()
    web.upload(batch, ("a.jpg", b"1"))
    assert web.get(f"/batches/{batch}")["expires_at"] == "2027-01-16T08:00:00.000+00:00"
    web.clock.now += web.settings.collector.expire_open_s
    web.collector.sweep()
    assert web.get(f"/batches/{batch}")["status"] == "open"
    web.clock.now += 1
    web.collector.sweep()
    assert web.get(f"/batches/{batch}")["status"] == "queued", "its images are tagged all the same"
    assert web.send(batch, ("b.jpg", b"2")).status_code == 409
    web.finish(*map(web.result_of, web.jobs()))
    web.collect()
    expired = web.get(f"/batches/{batch}")
    assert expired["status"] == "expired"
    assert expired["expires_at"] is None


def test_an_upload_keeps_a_batch_open(web):
    batch = web.batch()
    web.clock.now += web.settings.collector.expire_open_s - 1
    web.upload(batch, ("a.jpg", b"1"))
    web.clock.now += 2
    web.collector.sweep()
    assert web.get(f"/batches/{batch}")["status"] == "open"


def keeping_for(settings: Settings, days: float) -> Settings:
    collector = settings.collector.model_copy(update={"retention_days": days})
    return settings.model_copy(update={"collector": collector})


@pytest.mark.parametrize(("days", "left"), [(0.0, True), (30.0, True), (7.0, False)])
def test_a_batch_is_kept_for_as_long_as_the_settings_say(web, days, left):
    ended, waiting = web.batch(), web.batch()
    web.upload(ended, ("empty.jpg", b""), ("a.jpg", b"1"))
    web.finish(*map(web.result_of, web.jobs()))
    web.collect()
    web.close(ended)
    web.upload(waiting, ("b.jpg", b"2"))
    web.close(waiting)
    web.clock.now += 8 * DAY_S
    ages = keeping_for(web.settings, days).collector
    house = Housekeeping(web.backend.store, LifecycleCatalog(web.catalog.database), ages, web.clock)
    house.sweep()
    web.clock.now += 61
    house.sweep()
    found = {batch["id"] for batch in web.get("/batches")["batches"]}
    assert found == ({ended, waiting} if left else {waiting}), "what still waits is never deleted"
    assert bool(stored(web, ended)) == left


def test_a_job_of_an_earlier_attempt_is_told_by_its_number(web):
    """What an older version wrote has no number, and is a first attempt."""
    batch = web.batch()
    web.upload(batch, ("a.jpg", b"1"))
    (job,) = web.jobs()
    body = encode(job)
    assert '"attempt":0' in body
    assert type(job).model_validate_json(body.replace('"attempt":0', '"unknown":0')).attempt == 0
