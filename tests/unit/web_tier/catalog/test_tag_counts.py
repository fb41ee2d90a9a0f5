"""Counts of tags are what a full count finds, whatever is done in whatever order, also by the previous version."""

from __future__ import annotations

import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, insert, text

from core.errors import TagfleetError
from tests.unit.web_tier.catalog.counted import Counted, quick
from web_tier.catalog.batches import NoSuchBatch
from web_tier.catalog.counting import check_counts, repair_counts
from web_tier.catalog.database import Database
from web_tier.catalog.edits import TagDecision
from web_tier.catalog.tables import tag_counts
from web_tier.catalog.tag_counts import ALL, Changes, recount
from web_tier.catalog.tag_list import TagCount, list_tags
from web_tier.catalog.tags import Edit

_NAMES = st.sampled_from(["dog", "Dog", "door", "cat", "sea"])
_IMAGES = st.sets(st.integers(0, 5), min_size=1, max_size=4)
_SAID = st.lists(st.tuples(_NAMES, st.sampled_from([None, 0.25, 0.75])), max_size=3)
_BATCH = st.integers(0, 2)
_ANY_BATCH = st.integers(0, 3)
_STEPS = {
    "upload": (_BATCH, st.integers(1, 3)),
    "result": (_IMAGES, _SAID, st.sampled_from(["good", "good", "broken", "lost"])),
    "edit": (_IMAGES, _NAMES, st.booleans()),
    "undo": (st.integers(0, 9),),
    "retry": (_BATCH,),
    "delete": (_ANY_BATCH,),
    "remove": (_ANY_BATCH, st.integers(1, 3)),
    "dropped": (_SAID,),
}
_OLD_STEPS = {
    "old_write": (_IMAGES, _SAID),
    "old_delete": (_ANY_BATCH,),
    "place": (st.integers(1, 3),),
    "settle": (),
}
_QUICK = settings(
    deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def _some(steps: dict[str, tuple[st.SearchStrategy, ...]]) -> st.SearchStrategy:
    return st.lists(st.one_of(*(st.tuples(st.just(name), *given) for name, given in steps.items())), max_size=16)


def _do(world: Counted, step: tuple) -> None:
    name, *values = step
    if name == "edit":
        world.edit(values[0], values[1], wanted=values[2])
    else:
        getattr(world, name)(*values)


@_QUICK
@given(steps=_some(_STEPS))
def test_after_each_step_the_counts_are_those_of_a_full_count(database, steps):
    world = Counted(database)
    world.upload(0, 2)
    for step in steps:
        _do(world, step)
        world.check()
        world.check_all()
        assert check_counts(database) == []


@_QUICK
@given(steps=_some(_STEPS | _OLD_STEPS))
def test_beside_the_previous_version_a_batch_is_right_at_any_time_and_all_in_the_end(database, steps):
    world = Counted(database)
    world.upload(0, 2)
    world.upload(1, 1)
    for step in steps:
        _do(world, step)
        world.check()
    world.settle()
    world.check()
    world.check_all()
    assert check_counts(database) == []
    assert world.placing.miscounted(10) == []


def _tagged(database: Database) -> Counted:
    """Two batches of three images each; all are dogs, and one of each batch is a cat."""
    world = Counted(database)
    world.upload(0, 3)
    world.upload(1, 3)
    world.result(range(6), [("dog", 0.5)], "good")
    world.edit({0, 3}, "cat", wanted=True)
    return world


_TAMPERED = {
    "too many in a batch": "UPDATE tag_counts SET images = images + 5 WHERE batch_id = :first AND key = 'dog'",
    "none in a batch": "DELETE FROM tag_counts WHERE batch_id = :first",
    "fewer than none": "UPDATE tag_counts SET images = -2 WHERE batch_id <> ''",
    "too few of all": "UPDATE tag_counts SET images = 1 WHERE batch_id = ''",
    "none of all": "DELETE FROM tag_counts WHERE batch_id = ''",
    "nothing": "DELETE FROM tag_counts",
    "a tag that no image has": "INSERT INTO tag_counts VALUES (:first, 'sun', 'Sun', 3), ('', 'moon', 'Moon', 0)",
    "a batch that is not there": "INSERT INTO tag_counts VALUES ('bat_x', 'dog', 'Dog', 3)",
    "counters of a batch": "UPDATE batches SET total = 9, completed = 0, failed = 2, cancelled = 1 WHERE id = :first",
    "all of it": "UPDATE tag_counts SET images = 7",
}


@pytest.mark.parametrize("what", _TAMPERED)
def test_numbers_that_were_tampered_with_are_found_and_repaired(database, what):
    world = _tagged(database)
    deleted = Counted(database)
    deleted.upload(0, 1)
    deleted.result({0}, [("dog", 0.5)], "good")
    deleted.delete(0)
    assert check_counts(database) == []
    with database.writing() as connection:
        connection.execute(text(_TAMPERED[what]), {"first": world.batches[0]} if ":first" in _TAMPERED[what] else {})
    found = check_counts(database)
    assert found
    assert all("the catalogue says" in str(problem) for problem in found)
    assert repair_counts(database) == len(found)
    assert check_counts(database) == []
    assert repair_counts(database) == 0
    world.check()
    world.check_all()


def test_counts_that_an_older_host_left_of_a_deleted_batch_are_repaired_too(database):
    world = _tagged(database)
    world.old_delete(0)
    assert {problem.batch_id for problem in check_counts(database)} == {world.batches[0], ALL}
    repair_counts(database)
    assert check_counts(database) == []


def test_two_collectors_place_the_same_rows_once(database):
    world = _tagged(database)
    world.old_write(range(6), [("sea", None), ("dog", 0.9)])
    ids = world.placing.unplaced_after("", 100)
    assert len(ids) == 6
    threads = [threading.Thread(target=world.placing.place, args=(ids, quick())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    world.settle()
    assert check_counts(database) == []
    assert world.tags.tags("", 9) == [TagCount("dog", 6), TagCount("sea", 6)]


def test_wherever_placing_is_killed_it_goes_on_later(database, monkeypatch):
    class Killed(BaseException):
        pass

    world = _tagged(database)
    left = 0
    execute = Connection.execute

    def dying(self, *args, **kwargs):
        nonlocal left
        left -= 1
        if left == 0:
            raise Killed
        return execute(self, *args, **kwargs)

    for statements in range(1, 200):
        world.old_write(range(6), [("sea", None)] if statements % 2 else [("door", 0.5), ("Sea", 0.1)])
        left = statements
        with monkeypatch.context() as patched:
            patched.setattr(Connection, "execute", dying)
            try:
                world.settle()
            except Killed:
                pass
            else:
                break
        world.check()
    world.settle()
    assert statements > 10
    assert check_counts(database) == []


def test_a_large_batch_is_counted_in_parts(database):
    world = _tagged(database)
    world.old_write({0, 1}, [("sea", None), ("dog", 0.9)])
    world.place(10)
    with database.writing() as connection:
        changes = Changes()
        parts, after = [], recount(connection, world.batches[1], changes, rows=1)
        while after is not None:
            parts.append(after)
            after = recount(connection, world.batches[1], changes, after, rows=1)
        changes.write(connection)
    assert parts == ["dog", "sea"]
    world.check()
    world.placing.recount_large(world.batches[1], quick())
    assert world.placing.miscounted(10) == []
    assert check_counts(database) == []


def test_writers_of_the_same_tags_in_opposite_orders_do_not_block_each_other(database):
    world = _tagged(database)
    names = [f"tag {number}" for number in range(40)]
    failed: list[TagfleetError] = []

    def edit(batch: str, order: list[str]) -> None:
        ids = [image for owner, image in world.images if owner == batch]
        try:
            for turn in range(6):
                decisions = [TagDecision(name, turn % 2 == 0) for name in order]
                world.tags.edit(batch, ids, Edit(f"edt_{batch}_{turn}", decisions), 1.0)
        except TagfleetError as error:
            failed.append(error)

    threads = [
        threading.Thread(target=edit, args=(world.batches[0], names)),
        threading.Thread(target=edit, args=(world.batches[1], names[::-1])),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert failed == []
    assert check_counts(database) == []


def test_a_tag_is_listed_of_one_batch_and_of_all_most_frequent_first(database):
    world = _tagged(database)
    assert world.tags.tags("", 9) == [TagCount("dog", 6), TagCount("cat", 2)]
    assert world.tags.tags("", 1, world.batches[0]) == [TagCount("dog", 3)]
    assert world.tags.tags("C", 9, world.batches[0]) == [TagCount("cat", 1)]
    assert world.tags.tags("", 9, world.batches[2]) == []
    world.delete(0)
    assert world.tags.tags("", 9) == [TagCount("dog", 3), TagCount("cat", 1)]
    with pytest.raises(NoSuchBatch):
        world.tags.tags("", 9, world.batches[0])


def test_of_very_many_tags_with_a_prefix_the_most_frequent_are_found_in_the_order_of_frequency(database):
    _tagged(database)
    rows = [{"batch_id": ALL, "key": f"t{n:05}", "name": f"T{n:05}", "images": 1 + n % 7 % 3} for n in range(5000)]
    with database.writing() as connection:
        connection.execute(insert(tag_counts), rows)
    with database.reading() as connection:
        found = list_tags(connection, "T", 700)
    expected = sorted(rows, key=lambda row: (-row["images"], row["key"]))
    assert [tag.name for tag in found] == [row["name"] for row in expected[:700]]
