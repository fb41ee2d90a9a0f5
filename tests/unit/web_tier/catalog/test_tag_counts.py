"""Counts of tags are what a full count finds, whatever is done in whatever order, also by the previous version."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.web_tier.catalog.counted import Counted
from web_tier.catalog.counting import check_counts
from web_tier.catalog.database import Database, catalog_url, migrate

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
    deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def _some(steps: dict[str, tuple[st.SearchStrategy, ...]]) -> st.SearchStrategy:
    return st.lists(st.one_of(*(st.tuples(st.just(name), *given) for name, given in steps.items())), max_size=16)


def _do(world: Counted, step: tuple) -> None:
    name, *values = step
    if name == "edit":
        world.edit(values[0], values[1], wanted=values[2])
    else:
        getattr(world, name)(*values)


@pytest.fixture
def database(cataloged) -> Iterator[Database]:
    migrate(catalog_url(cataloged))
    database = Database(catalog_url(cataloged))
    yield database
    database.close()


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
