"""Large batches that are deleted: hidden at once, removed in small groups, whatever happens meanwhile."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine, event, func, select

from bench.catalogs import fill, image_id
from config import settings as config
from core.domain.messages import Job, Origin
from core.errors import Unavailable
from core.storage import layout
from web_tier.catalog.batches import Batch, KeyReused, NoSuchBatch, Upload
from web_tier.catalog.drops import DropCatalog
from web_tier.catalog.edits import TagDecision
from web_tier.catalog.feedback import FeedbackCatalog
from web_tier.catalog.lifecycle import LifecycleCatalog
from web_tier.catalog.pace import Pace
from web_tier.catalog.removal import RemovalBacklog, RemovalCatalog
from web_tier.catalog.results import ImageOutcome
from web_tier.catalog.tables import batches, images, tags, verdicts
from web_tier.catalog.tag_rows import TagFilter
from web_tier.catalog.tags import Edit, NoSuchImage, TagCatalog
from web_tier.catalog.uploads import UploadCatalog
from web_tier.services.lifecycle import Housekeeping
from web_tier.services.removal import Removal

LARGE = 1200
"""More than a request removes itself, and than one group holds."""

MARKED = ([1, 2, 2, 2], [1, 0, 2, 2])
"""Rows written to delete the batch `large`: its own, its counts of two tags, and those of all, which are then deleted.

SQLite does not say how many rows a statement deletes that returns them.
"""


@pytest.fixture
def large(web):
    """A batch with rows, tags and objects, and a small one beside it that must stay as it is."""
    fill(web.catalog.database, "bat_large", LARGE, tags=2)
    for number in (1, LARGE // 2, LARGE):
        for key_of in (layout.image_key, layout.thumbnail_key, layout.result_key):
            web.backend.store.put(key_of("bat_large", image_id("bat_large", number)), b"1")
    return "bat_large"


@pytest.fixture
def other(web):
    batch = web.batch()
    web.upload(batch, ("a.jpg", b"1"))
    web.finish(*map(web.result_of, web.jobs()))
    web.collect()
    return batch


def stored(web, batch: str) -> list[str]:
    return [info.key for prefix in layout.batch_prefixes(batch) for info in web.backend.store.list(prefix)]


def rows(web, batch: str) -> Counter[str]:
    with web.catalog.database.reading() as connection:
        of = select(images.c.id).where(images.c.batch_id == batch)
        return Counter(
            images=connection.execute(select(func.count()).select_from(of.subquery())).scalar_one(),
            tags=connection.execute(select(func.count()).where(tags.c.image_id.in_(of))).scalar_one(),
            verdicts=connection.execute(select(func.count()).where(verdicts.c.image_id.in_(of))).scalar_one(),
        )


def nothing_left(web, batch: str) -> bool:
    return not any(rows(web, batch).values()) and not stored(web, batch)


def removal(web, pace: Pace | None = None) -> Removal:
    new = (lambda: pace) if pace else Pace
    return Removal(web.backend.store, RemovalCatalog(web.catalog.database), lambda: web.clock.now + 61, new)


class Never:
    def is_set(self) -> bool:
        return False


@contextmanager
def statements():
    """Of each transaction that changes something: how many rows each of its statements changed, where that is known."""
    found: list[list[int]] = []

    def ran(connection, cursor, statement, parameters, context, executemany) -> None:
        if statement.split(None, 1)[0] not in ("INSERT", "UPDATE", "DELETE"):
            return
        transaction = connection.get_transaction()
        if seen[-1:] != [transaction]:
            seen.append(transaction)
            found.append([])
        found[-1].append(max(cursor.rowcount, 0))

    seen: list[object] = []
    event.listen(Engine, "after_cursor_execute", ran)
    try:
        yield found
    finally:
        event.remove(Engine, "after_cursor_execute", ran)


# --- hidden at once ---------------------------------------------------------------------------


def test_a_deletion_writes_no_row_of_an_image(web, large):
    database = web.catalog.database
    with statements() as found:
        LifecycleCatalog(database).delete(large, 1.0)
    (written,) = found
    assert written in MARKED
    assert rows(web, large)["images"] == LARGE, "they go later"


def test_from_the_deletion_on_no_reader_sees_an_image(web, large, other):
    database, first = web.catalog.database, image_id(large, 1)
    uploads, tagging = UploadCatalog(database), TagCatalog(database)
    tagging.edit(large, [first], Edit("edt_1", [TagDecision("Only here", wanted=True)]), 1.0)
    LifecycleCatalog(database).delete(large, 1.0)
    assert rows(web, large)["images"] == LARGE

    assert web.catalog.find_image(first) is None
    assert (
        web.catalog.list_results(large, 10) == web.catalog.list_changes(large, 0, 10) == uploads.accepted([first]) == []
    )
    assert uploads.with_content({f"{1:064x}"}) == uploads.with_content({f"{1:064x}"}, large) == {}
    assert uploads.stored_in(large, {f"{1:064x}"}) == []
    assert web.catalog.ends([first]) == {}
    assert web.catalog.waiting_images(large) == set()
    assert web.catalog.measure_rate(large, 1.0) is None
    assert [count.name for count in tagging.tags("", 100)] == ["dog"]
    assert tagging.tags("label", 100) == []
    assert {image.batch_id for image in tagging.search(TagFilter(), 10)} == {other}
    assert tagging.search(TagFilter(name="Label 1"), 10) == tagging.search(TagFilter(prefix="only"), 10) == []
    assert len(tagging.search(TagFilter(name="dog"), 10)) == 1
    assert FeedbackCatalog(database).unpublished(10) == []
    for refused in (
        lambda: uploads.add_images(large, [Upload("img_x", "x", "0", 1)], 1.0),
        lambda: web.catalog.read_change(large),
    ):
        with pytest.raises(NoSuchBatch):
            refused()
    with pytest.raises((NoSuchBatch, NoSuchImage)):
        tagging.edit(large, [first], Edit("edt_2", [TagDecision("x", wanted=True)]), 1.0)


def test_from_the_deletion_on_the_api_knows_nothing_of_it(web, large, other):
    first = image_id(large, 1)
    LifecycleCatalog(web.catalog.database).delete(large, 1.0)
    for path in (
        f"/batches/{large}",
        f"/batches/{large}/results",
        f"/batches/{large}/events",
        *(f"/batches/{large}/export?format={kind}" for kind in ("csv", "jsonl", "coco", "xmp")),
        f"/images/{first}",
        f"/images/{first}/thumbnail",
    ):
        assert web.client.get(f"/api/v1{path}").status_code == 404, path
    assert web.client.post("/api/v1/images/check", json={"sha256": [f"{1:064x}"]}).json == {"known": {}}
    known = {"images": [{"name": "a.jpg", "sha256": f"{1:064x}"}]}
    open_batch = web.batch()
    assert web.client.post(f"/api/v1/batches/{open_batch}/images/known", json=known).json == {"images": [None]}
    assert web.client.patch(f"/api/v1/images/{first}/tags", json={"add": ["x"]}).status_code == 404
    assert large not in web.client.get("/api/v1/batches").text


def test_a_key_that_named_an_edit_of_a_deleted_batch_names_a_new_one(web, large, other):
    database = web.catalog.database
    tagging, edit = TagCatalog(database), Edit("edt_1", [TagDecision("x", wanted=True)])
    tagging.edit(large, [image_id(large, 1)], edit, 1.0)
    LifecycleCatalog(database).delete(large, 1.0)
    (image,) = web.catalog.list_results(other, 1)
    (after,) = tagging.edit(other, [image.id], edit, 1.0)
    assert "x" in {tag["name"] for tag in after.tags}


def test_what_waits_in_a_deleted_batch_is_sent_by_no_sweep(web):
    fill(web.catalog.database, "bat_large", LARGE, status="received", tags=0)
    LifecycleCatalog(web.catalog.database).delete("bat_large", web.clock.now)
    assert web.catalog.unsent(time.time() + 1e9, 10) == []
    assert web.catalog.waiting_batches(1e12) == []


def test_a_result_that_comes_while_rows_are_left_is_removed(web, large):
    LifecycleCatalog(web.catalog.database).delete(large, web.clock.now)
    job = Job(
        batch_id=large, image_id=image_id(large, 2), key="k", name="n", tagger="resnet50", submitted_at=1.0, attempt=1
    )
    web.finish(web.result_of(job))
    assert web.collect() == 0
    assert layout.result_key(large, job.image_id) not in stored(web, large)
    assert web.catalog.record([ImageOutcome.of(web.result_of(job))], 1.0).unknown


# --- removed in groups ------------------------------------------------------------------------


def test_the_collector_removes_what_the_request_left(web, large, other):
    kept = stored(web, other), rows(web, other)
    assert web.client.delete(f"/api/v1/batches/{large}").status_code == 204
    left = rows(web, large)["images"]
    assert 0 < left < LARGE
    metrics = web.client.get("/metrics").text
    assert "tagfleet_batches_to_remove 1.0" in metrics
    assert f"tagfleet_images_to_remove {left}.0" in metrics
    web.clock.now += 61
    web.collector.sweep()
    assert nothing_left(web, large)
    assert (stored(web, other), rows(web, other)) == kept
    assert RemovalCatalog(web.catalog.database).backlog() == RemovalBacklog(0, 0)
    assert f"tagfleet_images_accepted_total {LARGE + 1}.0" in web.client.get("/metrics").text, "a counter never falls"


def test_no_transaction_of_a_removal_grows_with_the_batch(web, large):
    LifecycleCatalog(web.catalog.database).delete(large, 1.0)
    with statements() as found:
        removal(web).work(Never())
    assert nothing_left(web, large)
    assert sum(map(sum, found)) >= LARGE * 3
    assert max(map(len, found)) <= 4
    assert max(max(changed, default=0) for changed in found) <= 500 * 2, "of two tags an image"


def test_others_write_between_any_two_groups(web, large, other):
    """Whatever lock a group takes is free again when it rests."""
    database = web.catalog.database
    LifecycleCatalog(database).delete(large, 1.0)
    lives, batch = UploadCatalog(database), web.batch()
    written = []

    def write(_seconds: float) -> None:
        upload = Upload(f"img_{len(written)}", f"{len(written)}.jpg", str(len(written)), 1)
        written.extend(lives.add_images(batch, [upload], 1.0))

    removal(web, Pace(pause=write)).work(Never())
    assert nothing_left(web, large)
    assert len(written) >= 3


class Killed(BaseException):
    """The process is gone."""


def test_wherever_a_removal_is_killed_it_is_finished_later(web, large, other):
    kept = stored(web, other), rows(web, other)
    LifecycleCatalog(web.catalog.database).delete(large, 1.0)
    kills = 0
    for groups in range(6):
        left = [groups]

        def rest(_seconds: float, left=left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise Killed

        try:
            removal(web, Pace(pause=rest)).work(Never())
        except Killed:
            kills += 1
    assert kills >= 3
    removal(web).work(Never())
    assert nothing_left(web, large)
    assert (stored(web, other), rows(web, other)) == kept


def test_whichever_call_of_the_store_fails_it_is_finished_later(web, large, other, budget):
    kept = stored(web, other), rows(web, other)
    LifecycleCatalog(web.catalog.database).delete(large, 1.0)
    for calls in range(5):
        budget.calls = calls
        try:
            removal(web).work(Never())
            break
        except Unavailable:
            assert web.catalog.find_image(image_id(large, LARGE)) is None
    budget.calls = 1 << 30
    removal(web).work(Never())
    assert nothing_left(web, large)
    assert (stored(web, other), rows(web, other)) == kept


def test_objects_go_before_the_rows_that_name_them(web, large, budget):
    """Else a crash between the two would leave bytes that nobody knows."""
    LifecycleCatalog(web.catalog.database).delete(large, 1.0)
    budget.calls = 1  # the mark of a cancellation, and then nothing more
    with pytest.raises(Unavailable):
        removal(web).work(Never())
    assert rows(web, large)["images"] == LARGE


def test_a_collector_that_is_killed_in_the_middle_is_followed_by_one_that_finishes(web, large):
    """As real processes: the rows that a killed one leaves are those that the next one removes."""
    LifecycleCatalog(web.catalog.database).delete(large, time.time() - 100)
    for _ in range(3):
        before = rows(web, large)["images"]
        with collecting(web) as process:
            until(lambda before=before: not before or rows(web, large)["images"] < before)
            process.kill()
    with collecting(web):
        until(lambda: nothing_left(web, large))
        until(lambda: RemovalCatalog(web.catalog.database).backlog() == RemovalBacklog(0, 0))


@contextmanager
def collecting(web):
    environ = config.as_environment(web.settings)
    command = [sys.executable, "-m", "tagfleet", "collector"]
    with subprocess.Popen(command, env={"PATH": "/usr/bin:/bin", **environ}, cwd=Path(__file__).parents[4]) as process:
        try:
            yield process
        finally:
            process.terminate()


def until(condition) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "it never came to hold"
        time.sleep(0.01)


def test_two_collectors_at_one_batch_do_no_harm(web, large, other):
    """The one takes a group while the other rests."""
    kept = rows(web, other)
    LifecycleCatalog(web.catalog.database).delete(large, 1.0)
    inner = []

    def rest(_seconds: float) -> None:
        if not inner:
            inner.append(removal(web).work(Never()))

    removal(web, Pace(pause=rest)).work(Never())
    assert inner == [True]
    assert nothing_left(web, large)
    assert rows(web, other) == kept
    with web.catalog.database.reading() as connection:
        row = connection.execute(select(batches).where(batches.c.id == large)).one()
    assert (row.total, row.removed) == (LARGE, LARGE)


def test_retention_marks_and_the_collector_removes(web, large, other):
    ages = web.settings.collector.model_copy(update={"retention_days": 1.0})
    house = Housekeeping(web.backend.store, LifecycleCatalog(web.catalog.database), ages, lambda: time.time() + 86_500)
    with statements() as found:
        house.mark()
    (written,) = found
    assert written in MARKED
    assert web.client.get(f"/api/v1/batches/{large}").status_code == 404
    assert rows(web, large)["images"] == LARGE


def test_a_deletion_that_an_older_version_left_half_done_is_finished(web):
    """Its rows went in the transaction that deleted it; objects were left."""
    fill(web.catalog.database, "bat_old", 0)
    LifecycleCatalog(web.catalog.database).delete("bat_old", 1.0)
    for number in range(1500):
        web.backend.store.put(layout.image_key("bat_old", f"img_{number}"), b"1")
    web.collector.sweep()
    assert stored(web, "bat_old") == []


# --- cancelled --------------------------------------------------------------------------------


@pytest.fixture
def waiting(web):
    fill(web.catalog.database, "bat_wait", LARGE, status="queued", tags=0)
    return "bat_wait"


def test_a_cancellation_writes_one_row_and_readers_see_all_of_it(web, waiting):
    lives = LifecycleCatalog(web.catalog.database)
    with statements() as found:
        lives.cancel(waiting, 5.0)
    assert list(map(len, found)) == [1]
    batch = web.get(f"/batches/{waiting}")
    assert batch["status"] == "cancelled"
    assert batch["request_counts"] == {"total": LARGE, "completed": LARGE, "failed": 0, "cancelled": LARGE}
    assert batch["completed_at"] == batch["cancelled_at"]
    page = web.get(f"/batches/{waiting}/results?limit=1000&status=cancelled")["results"]
    assert len(page) == 1000
    assert {(item["status"], item["finished_at"]) for item in page} == {("cancelled", batch["cancelled_at"])}
    assert web.get(f"/batches/{waiting}/results?status=queued")["results"] == []
    assert web.get(f"/images/{image_id(waiting, 7)}")["status"] == "cancelled"
    assert web.catalog.ends([image_id(waiting, 7)])[image_id(waiting, 7)].finished
    assert web.catalog.unsent(1e12, 10) == web.catalog.waiting_batches(1e12) == []
    assert web.client.post(f"/api/v1/batches/{waiting}/retry", json={}).status_code == 409


def test_a_late_result_finds_its_image_cancelled_before_its_row_is(web, waiting):
    LifecycleCatalog(web.catalog.database).cancel(waiting, 5.0)
    job = Job(batch_id=waiting, image_id=image_id(waiting, 9), key="k", name="n", tagger="resnet50", submitted_at=1.0)
    web.finish(web.result_of(job))
    assert web.collect() == 0
    web.collector.sweep()
    assert web.get(f"/images/{job.image_id}")["status"] == "cancelled"
    assert web.get(f"/batches/{waiting}")["request_counts"]["cancelled"] == LARGE


def test_who_follows_a_large_batch_gets_every_cancelled_image_and_then_the_end(web, waiting):
    seen = web.catalog.read_change(waiting)
    answer = web.client.post(f"/api/v1/batches/{waiting}/cancel").json
    assert answer["request_counts"]["cancelled"] == LARGE
    assert not web.catalog.get_batch(waiting).final
    web.collector.sweep()
    stream = web.client.get(f"/api/v1/batches/{waiting}/events?last_event_id={seen}").text
    assert stream.count("event: item") == LARGE
    assert stream.count("event: completed") == 1
    assert stream.rindex("event: item") < stream.index("event: completed")
    assert web.get(f"/batches/{waiting}")["completed_at"] == answer["completed_at"]


def test_wherever_a_cancellation_is_killed_it_is_finished_later(web, waiting):
    from web_tier.services.lifecycle import Cancelling

    lives = LifecycleCatalog(web.catalog.database)
    lives.cancel(waiting, 5.0)

    def die(_seconds: float) -> None:
        raise Killed

    for _ in range(2):
        with pytest.raises(Killed):
            Cancelling(lives, lambda: Pace(pause=die)).work(Never())
    with statements() as found:
        Cancelling(lives).work(Never())
    assert max(map(len, found)) <= 2
    assert max(max(changed, default=0) for changed in found) <= 500
    batch = web.catalog.get_batch(waiting)
    assert batch.final
    changes = [image.change for image in web.catalog.list_changes(waiting, 0, LARGE + 1)]
    assert len(set(changes)) == LARGE
    assert max(changes) < batch.change, "the end comes after the last image"


def test_a_batch_that_is_deleted_while_it_is_cancelled_goes(web, waiting):
    LifecycleCatalog(web.catalog.database).cancel(waiting, web.clock.now)
    assert web.client.delete(f"/api/v1/batches/{waiting}").status_code == 204
    web.clock.now += 61
    web.collector.sweep()
    assert nothing_left(web, waiting)


# --- other work on many rows ------------------------------------------------------------------


def test_all_that_people_hold_is_told_once_more_in_groups(web, large):
    database = web.catalog.database
    every = [image_id(large, number) for number in range(1, LARGE + 1)]
    TagCatalog(database).edit(large, every, Edit("edt_1", [TagDecision("x", wanted=True)]), 1.0)
    teaching = FeedbackCatalog(database)
    while unpublished := teaching.unpublished(500):
        teaching.mark_published(unpublished)
    with statements() as found:
        assert teaching.mark_all_unpublished() == LARGE
    assert max(max(changed, default=0) for changed in found) <= 500
    assert len(teaching.unpublished(LARGE + 1)) == LARGE


@pytest.mark.parametrize("names", [1, 40])
def test_a_large_edit_is_made_and_undone_in_groups(web, large, names):
    database = web.catalog.database
    every = [image_id(large, number) for number in range(1, 301)]
    edit = Edit("edt_1", [TagDecision(f"x {number}", wanted=True) for number in range(names)])
    before = web.catalog.read_change(large)
    with statements() as found:
        after = TagCatalog(database).edit(large, every, edit, 1.0)
        undone = TagCatalog(database).undo(large, "edt_1", 2.0)
    assert len(found) >= 2 * 3
    assert max(map(max, found)) <= 1000, "the tags of a hundred images at most"
    assert [image.id for image in after] == [image.id for image in undone] == every
    assert all(f"x {names - 1}" in {tag["name"] for tag in image.tags} for image in after)
    assert not any("x 0" in {tag["name"] for tag in image.tags} for image in undone)
    assert sorted(image.change for image in undone) == list(range(before + 301, before + 601))


def test_a_large_edit_that_broke_off_goes_on_when_it_is_made_again(web, large):
    tagging, every = TagCatalog(web.catalog.database), [image_id(large, number) for number in range(1, 301)]
    edit, groups = Edit("edt_1", [TagDecision("x", wanted=True)]), []

    def die(connection, cursor, statement, *_) -> None:
        if statement.startswith("INSERT INTO verdicts"):
            groups.append(statement)
            if len(groups) == 3:
                raise Killed

    event.listen(Engine, "before_cursor_execute", die)
    try:
        with pytest.raises(Killed):
            tagging.edit(large, every, edit, 1.0)
    finally:
        event.remove(Engine, "before_cursor_execute", die)
    tagged = tagging.edit(large, every, edit, 1.0)
    assert all("x" in {tag["name"] for tag in image.tags} for image in tagged)
    assert tagging.edit(large, every, edit, 1.0) == tagged, "it is made once"
    with web.catalog.database.reading() as connection:
        count = select(func.count()).where(verdicts.c.edit_id == "edt_1")
        assert connection.execute(count).scalar_one() == 300
    for changed in (every[:250], [*every, image_id(large, 301)]):
        with pytest.raises(KeyReused):
            tagging.edit(large, changed, edit, 1.0)


def test_a_large_edit_of_images_of_which_one_is_missing_changes_none(web, large):
    before = web.catalog.read_change(large)
    every = [*(image_id(large, number) for number in range(1, 301)), "img_zzz"]
    with pytest.raises(NoSuchImage, match="img_zzz"):
        TagCatalog(web.catalog.database).edit(large, every, Edit("edt_1", [TagDecision("x", wanted=True)]), 1.0)
    assert web.catalog.read_change(large) == before


def test_no_transaction_walks_through_a_whole_batch_to_find_images_by_id(web, large, waiting):
    """SQLite prefers the index of batches wherever it may; the tables have no statistics."""
    if web.settings.web.catalog_url:
        pytest.skip("PostgreSQL knows how many rows there are")
    database, ran = web.catalog.database, []

    def note(connection, cursor, statement, parameters, context, executemany) -> None:
        if connection.get_execution_options()["access"].writes:
            ran.append((statement, parameters[0] if executemany else parameters))

    some, lives, tagging = (
        [image_id(large, number) for number in range(500, 600)],
        LifecycleCatalog(database),
        TagCatalog(database),
    )
    uploads = [Upload(f"img_{number}", f"{number}.jpg", str(number), 1) for number in range(100)]
    lives.cancel(waiting, 5.0)
    open_batch = web.batch()
    event.listen(Engine, "before_cursor_execute", note)
    try:
        tagging.edit(large, some, Edit("edt_1", [TagDecision("x", wanted=True)]), 1.0)
        tagging.undo(large, "edt_1", 1.0)
        lives.retry(large, some, 1.0)
        lives.cancel_some(waiting, [image_id(waiting, number) for number in range(100)], Pace())
        web.catalog.record([ImageOutcome(large, id_, "n", None, [], None, None, "t", 1.0) for id_ in some], 1.0)
        UploadCatalog(database).add_images(open_batch, uploads, 1.0)
        UploadCatalog(database).mark_sent(some)
        origin = Origin(uri="s3://b/k", folder="s3://b/", sha256="0", bytes=1, dropped_at=1.0)
        dropped = [
            ImageOutcome(large, f"i{n}", f"{n}", None, [], None, None, "t", 1.0, origin=origin) for n in range(100)
        ]
        DropCatalog(database).adopt(dropped, "p", 1.0)
        lives.delete(large, 1.0)
        RemovalCatalog(database).remove(large, some, Pace())
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    plans = {}
    with database.reading() as connection:
        for statement, parameters in ran:
            found = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            plans[statement] = [row.detail for row in found]
    assert len(plans) > 15
    walks = ("USING INDEX ix_images_batch_id", "USING COVERING INDEX ix_images_batch_id", "SCAN images")
    wrong = {
        statement: plan
        for statement, plan in plans.items()
        if any(walk in step and "sha256" not in step for step in plan for walk in walks)
    }
    assert wrong == {}


def test_a_new_batch_is_whole():
    """A batch that nobody cancelled or deleted shows what its row says."""
    batch = Batch("b", "p", {}, {}, 1.0, 2.0, None, 3, 3, 1, 0)
    assert (batch.status, batch.ended, batch.final) == ("in_progress", False, False)
