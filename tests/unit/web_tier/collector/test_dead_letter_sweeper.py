"""Dead letters: their images are given up, unless they have ended."""

from __future__ import annotations

import pytest

from core.domain.messages import Job, encode
from core.errors import Unavailable
from core.storage import layout
from web_tier.catalog.results import ImageOutcome
from web_tier.collector import dead_letter_sweeper as module
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


class CountingStore:
    """A store that counts the requests about results."""

    def __init__(self, store) -> None:
        self._store = store
        self.gets = self.puts = 0

    def __getattr__(self, name: str):
        return getattr(self._store, name)

    def get(self, *arguments):
        self.gets += 1
        return self._store.get(*arguments)

    def put(self, *arguments, **options):
        self.puts += 1
        return self._store.put(*arguments, **options)

    @property
    def asked(self) -> tuple[int, int]:
        asked, self.gets, self.puts = (self.gets, self.puts), 0, 0
        return asked


@pytest.fixture
def store(web) -> CountingStore:
    return CountingStore(web.backend.store)


@pytest.fixture
def new_sweeper(web, store):
    """Makes sweepers, as further collectors or a restarted one have."""
    return lambda: DeadLetterSweeper(
        store,
        web.catalog,
        10,
        web.clock,
        lambda outcomes: web.catalog.record(outcomes, web.clock()).new if outcomes else 0,
    )


def bulk(web, count: int) -> list[Job]:
    """Dead letters of a run over a bucket, whose failures are objects."""
    jobs = [
        Job(
            batch_id="run_1",
            image_id=f"00001-{n:05}",
            key="k",
            name=f"{n}.jpg",
            tagger="t",
            submitted_at=0,
            store_only=True,
        )
        for n in range(count)
    ]
    web.backend.jobs("resnet50").send([encode(job) for job in jobs])
    web.give_up()
    return jobs


def test_each_letter_is_handled_once_by_whichever_collector_and_across_restarts(web, store, new_sweeper):
    queue = web.backend.jobs("resnet50")
    bulk(web, 7)
    first = new_sweeper()
    first.sweep("resnet50", queue)
    assert store.asked == (14, 7), "each is handled, and its result looked for once more at the end"
    for _ in range(3):
        first.sweep("resnet50", queue)
        assert store.asked == (0, 0)
    other = new_sweeper()
    other.sweep("resnet50", queue)
    assert store.asked == (7, 0)
    web.clock.now += 301
    first.sweep("resnet50", queue)
    assert store.asked == (7, 0), "a look for a result that came late, and no failure stored again"
    assert letters(web) == 7


def test_a_sweep_handles_no_more_new_letters_than_it_has_time_for(web, store, new_sweeper, monkeypatch):
    monkeypatch.setattr(module, "_GROUP", 2)
    monkeypatch.setattr(module, "_MOST_NEW", 4)
    bulk(web, 10)
    sweeper = new_sweeper()
    for stored in (4, 4, 2, 0):
        sweeper.sweep("resnet50", web.backend.jobs("resnet50"))
        assert store.asked[1] == stored


def test_handled_letters_are_read_again_in_pages(web, store, new_sweeper, monkeypatch):
    monkeypatch.setattr(module, "_MOST_AGAIN", 3)
    jobs = bulk(web, 7)
    sweeper, queue = new_sweeper(), web.backend.jobs("resnet50")
    for _ in range(3):
        sweeper.sweep("resnet50", queue)
    web.keep(web.result_of(jobs[6]))
    web.clock.now += 301
    store.asked  # noqa: B018  # begin again with no requests
    for left, gets in ((7, 3), (7, 3), (6, 1), (6, 0)):
        sweeper.sweep("resnet50", queue)
        assert (letters(web), store.asked) == (left, (gets, 0))


def test_a_letter_that_was_redriven_and_died_again_is_new(web, store, new_sweeper):
    (job,) = bulk(web, 1)
    sweeper, queue = new_sweeper(), web.backend.jobs("resnet50")
    sweeper.sweep("resnet50", queue)
    web.backend.store.delete([layout.result_key(job.batch_id, job.image_id)])
    assert queue.redrive(10) == 1
    web.give_up()
    sweeper.sweep("resnet50", queue)
    assert web.backend.store.get(layout.result_key(job.batch_id, job.image_id))


def test_a_sweep_that_is_cut_off_is_repeated(web, store, new_sweeper):
    bulk(web, 3)
    queue = web.backend.jobs("resnet50")

    def fail(_letters):
        raise Unavailable("queue: locked")

    dead = queue.dead_letters()
    dead.mark_swept = fail
    sweeper = new_sweeper()
    with pytest.raises(Unavailable):
        sweeper._sweep_new(queue, dead)
    assert store.asked == (3, 3)
    sweeper.sweep("resnet50", queue)
    assert store.asked[1] == 3
    assert letters(web) == 3


def test_a_queue_without_pages_has_each_failure_stored_once(web, store, new_sweeper):
    bulk(web, 5)
    slow = Slow(web.backend.jobs("resnet50"))
    sweeper = new_sweeper()
    sweeper.sweep("resnet50", slow)
    assert store.asked == (5, 5)
    web.clock.now += 301
    sweeper.sweep("resnet50", slow)
    assert store.asked == (5, 0)


def test_what_was_handled_is_remembered_for_so_many_letters(web, store, new_sweeper, monkeypatch):
    monkeypatch.setattr(module, "_MOST_REMEMBERED", 2)
    bulk(web, 5)
    sweeper = new_sweeper()
    for _ in range(2):
        sweeper.sweep("resnet50", Slow(web.backend.jobs("resnet50")))
        assert len(sweeper._remembered) == 2
        web.clock.now += 301
