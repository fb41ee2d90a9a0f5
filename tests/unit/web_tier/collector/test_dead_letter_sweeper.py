"""Dead letters: their images are given up, unless they have ended."""

from __future__ import annotations

import pytest

from core.domain.messages import Job, encode
from core.errors import Unavailable
from web_tier.catalog.results import ImageOutcome
from web_tier.collector.dead_letter_sweeper import DeadLetterSweeper


def sent(web, count: int) -> list[Job]:
    """Jobs that wait on the queue."""
    batch = web.batch()
    web.upload(batch, *((f"{number}.jpg", b"%d" % number) for number in range(count)))
    jobs = web.jobs()
    web.backend.jobs("resnet50").send([encode(job) for job in jobs])
    return jobs


def status(web, job: Job) -> str:
    return web.get(f"/images/{job.image_id}")["status"]


def letters(web) -> int:
    return web.backend.jobs("resnet50").depth().dead


def test_an_image_in_the_dead_letters_failed_until_its_result_comes(web):
    batch = web.batch()
    web.upload(batch, ("a.jpg", b"one"))
    web.close(batch)
    web.give_up()
    queue = web.backend.jobs("resnet50")
    assert queue.depth().dead == 1
    for _ in range(2):
        web.collector.sweep()
        (item,) = web.get(f"/batches/{batch}/results")["results"]
        assert item["status"] == "failed"
        assert f"a.jpg: gave up after {web.settings.queue.max_receives} attempts" in item["error"]
        assert web.get(f"/batches/{batch}")["request_counts"] == {
            "total": 1,
            "completed": 1,
            "failed": 1,
            "cancelled": 0,
        }
    assert web.get(f"/batches/{batch}")["status"] == "completed"

    assert queue.redrive(10) == 1, "the sweep gave the dead letters back"
    (job,) = web.jobs()
    web.finish(web.result_of(job))
    assert web.collect() == 1
    assert web.get(f"/images/{job.image_id}")["status"] == "succeeded"
    assert web.get(f"/images/{job.image_id}")["error"] is None
    done = web.get(f"/batches/{batch}")
    assert done["request_counts"] == {"total": 1, "completed": 1, "failed": 0, "cancelled": 0}
    assert done["status"] == "completed"


def test_a_dead_letter_does_not_replace_a_result(web):
    (job,) = sent(web, 1)
    web.backend.jobs("resnet50").send(["no job at all"])
    web.finish(web.result_of(job))
    web.collect()
    web.give_up()
    web.collector.sweep()
    assert status(web, job) == "succeeded"
    assert web.get(f"/batches/{job.batch_id}")["request_counts"]["failed"] == 0
    assert letters(web) == 1, "what nobody can read is left to be looked at; the job has its result"


def test_a_worker_killed_before_its_last_acknowledgement_leaves_no_letter(web):
    """It had stored its results; whether it had sent them makes no difference."""
    stored, dead = sent(web, 2)
    web.keep(web.result_of(stored, tag="cat"))
    web.give_up()
    assert letters(web) == 2
    web.collector.sweep()
    assert (status(web, stored), status(web, dead)) == ("succeeded", "failed")
    assert letters(web) == 1
    web.clock.now += 301
    web.collector.sweep()
    assert letters(web) == 1
    assert web.get(f"/batches/{stored.batch_id}")["request_counts"]["failed"] == 1


@pytest.mark.parametrize("arrives", ["by message", "in the store only"])
def test_a_letter_goes_when_its_result_comes_after_all(web, arrives):
    """Of a worker that was held up for longer than the visibility timeout, on the last delivery."""
    (job,) = sent(web, 1)
    web.give_up()
    web.collector.sweep()
    assert (status(web, job), letters(web)) == ("failed", 1)
    if arrives == "by message":
        web.finish(web.result_of(job))
        web.collect()
    else:
        web.keep(web.result_of(job))
        web.clock.now += 301
    web.collector.sweep()
    assert (status(web, job), letters(web)) == ("succeeded", 0)


def test_the_failure_that_a_worker_stored_is_a_result_like_any_other(web):
    (job,) = sent(web, 1)
    web.keep(web.result_of(job, error="this is no photo"))
    web.give_up()
    web.collector.sweep()
    assert web.get(f"/images/{job.image_id}")["error"] == "this is no photo"
    assert letters(web) == 0


def test_a_letter_that_its_owner_tried_again_goes(web):
    (job,) = sent(web, 1)
    web.give_up()
    web.collector.sweep()
    assert web.client.post(f"/api/v1/batches/{job.batch_id}/retry").status_code == 200
    web.clock.now += 301
    web.collector.sweep()
    assert (status(web, job), letters(web)) == ("queued", 0)


def test_no_letter_goes_before_its_result_is_written_down(web):
    (job,) = sent(web, 1)
    web.keep(web.result_of(job))
    web.give_up()
    with pytest.raises(Unavailable):
        DeadLetterSweeper(web.backend.store, web.catalog, 10, web.clock, locked).sweep(
            "pool", web.backend.jobs("resnet50")
        )
    assert (status(web, job), letters(web)) == ("queued", 1)
    web.collector.sweep()
    assert (status(web, job), letters(web)) == ("succeeded", 0)


def locked(_outcomes: list[ImageOutcome]) -> int:
    raise Unavailable("catalogue: locked")


class Slow:
    """Reading takes so long that the letters read first are back before the last ones came. Counts the receives."""

    def __init__(self, queue) -> None:
        self._queue = queue
        self.received = 0

    def __getattr__(self, name: str):
        return getattr(self._queue, name)

    def dead_letters(self):
        return self

    def receive(self, limit: int, wait_s: float) -> list:
        letters = self._queue.dead_letters()
        found = letters.receive(limit, wait_s)
        letters.set_visibility(found, 0)
        self.received += len(found)
        assert self.received < 100, "the sweep does not end"
        return found


def test_letters_that_come_back_while_others_are_read_keep_no_sweep_from_its_end(web):
    web.upload(web.batch(), *((f"{number}.jpg", b"%d" % number) for number in range(3)))
    web.give_up()
    slow = Slow(web.backend.jobs("resnet50"))
    web.collector._jobs = lambda pool: slow
    web.collector.sweep()
    assert slow.received == 3


def test_read_letters_are_read_again_on_a_change_or_after_a_while(web):
    web.upload(web.batch(), ("a.jpg", b"a"))
    web.give_up()
    slow = Slow(web.backend.jobs("resnet50"))
    web.collector._jobs = lambda pool: slow
    for seconds, received in ((0, 1), (100, 1), (300, 2)):
        web.clock.now += seconds
        web.collector.sweep()
        assert slow.received == received
    web.upload(web.batch(), ("b.jpg", b"b"))
    web.give_up()
    web.collector.sweep()
    assert slow.received == 4
