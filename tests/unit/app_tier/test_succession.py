"""A new version is made ready beside the old one, and a broken one never takes its place."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from app_tier.taggers import Choice, Tagger
from app_tier.worker.hot_reload import Succession
from bench.deployment import wait_until
from core.errors import Unavailable, WeightsInvalid, WeightsMissing
from tests.unit.app_tier.conftest import ColourTagger


class World:
    """A registry of one name, and a clock that is far ahead at each look."""

    def __init__(self) -> None:
        self.default = "colour@1"
        self.fails: Exception | None = None
        self.away_for = 0
        """Loads."""
        self.loads = 0
        self.notice = ""
        self.content = "as it was put"
        self._now = 0.0

    def choose(self) -> Choice:
        name = self.default
        if name == "colour@gone":
            raise WeightsMissing("there is no model 'colour@gone' in the registry")
        if isinstance(self.fails, OSError):
            raise self.fails
        return Choice(name, self._load, notice=self.notice, current=lambda: self._current(name), content=self._content)

    def clock(self) -> float:
        self._now += 100.0
        return self._now

    def _current(self, name: str) -> bool:
        if isinstance(self.fails, Unavailable):
            raise self.fails
        return self.default == name

    def _content(self) -> str:
        if isinstance(self.fails, Unavailable):
            raise self.fails
        return self.content

    def _load(self) -> Tagger:
        self.loads += 1
        if self.loads <= self.away_for:
            raise Unavailable("the store is away")
        if self.fails:
            raise self.fails
        return ColourTagger()


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def succession(world: World) -> Succession:
    return Succession(world.choose(), world.choose, world.clock, 5.0)


def looked(succession: Succession, until: Callable[[Tagger | None], bool]) -> None:
    wait_until(lambda: until(succession.look()))


def test_nothing_is_loaded_while_the_version_is_current(world: World, succession: Succession) -> None:
    for _ in range(5):
        assert succession.look() is None
    assert world.loads == 0


def test_a_successor_is_handed_over_once(world: World, succession: Succession) -> None:
    world.default = "colour@2"
    looked(succession, lambda tagger: tagger is not None)
    assert [succession.look() for _ in range(5)] == [None] * 5
    assert world.loads == 1


@pytest.mark.parametrize("error", [WeightsInvalid("the weights of colour@2 are damaged"), ZeroDivisionError("why")])
def test_a_broken_successor_is_tried_once_and_named(world: World, succession: Succession, error: Exception) -> None:
    world.default, world.fails = "colour@2", error
    looked(succession, lambda tagger: bool(succession.notice))
    assert succession.notice.startswith("colour@1 goes on, as colour@2 cannot be loaded: ")
    assert str(error) in succession.notice
    for _ in range(20):
        assert succession.look() is None
    assert world.loads == 1
    world.default, world.fails = "colour@3", None
    looked(succession, lambda tagger: tagger is not None)
    assert succession.notice == ""


def test_a_broken_successor_that_is_put_again_is_tried_again(world: World, succession: Succession) -> None:
    world.default, world.fails = "colour@2", WeightsInvalid("the weights of colour@2 are damaged")
    looked(succession, lambda tagger: bool(succession.notice))
    world.content = "put again, and still broken"
    looked(succession, lambda tagger: world.loads == 2)
    for _ in range(20):
        assert succession.look() is None
    assert world.loads == 2
    world.content, world.fails = "put again", None
    looked(succession, lambda tagger: tagger is not None)
    assert (succession.serves.name, succession.notice) == ("colour@2", "")


def test_a_version_that_was_removed_is_no_reason_to_stop(world: World, succession: Succession) -> None:
    world.default = "colour@gone"
    looked(succession, lambda tagger: "there is no model" in succession.notice)
    world.default = "colour@1"
    looked(succession, lambda tagger: succession.notice == "")
    assert world.loads == 0


def test_a_store_that_is_away_is_waited_for(world: World, succession: Succession) -> None:
    world.default, world.fails = "colour@2", Unavailable("the store is away")
    for _ in range(20):
        assert succession.look() is None
    world.fails = None
    looked(succession, lambda tagger: tagger is not None)


def test_a_store_that_goes_away_while_a_successor_is_loaded_is_waited_for(world: World, succession: Succession) -> None:
    world.default, world.away_for = "colour@2", 2
    looked(succession, lambda tagger: tagger is not None)
    assert (world.loads, succession.notice) == (3, "")


def test_a_fallback_does_not_take_the_place_of_the_tagger_itself(world: World, succession: Succession) -> None:
    world.default, world.notice = "lite", "Photos are tagged by lite: there is no model 'colour'."
    looked(succession, lambda tagger: bool(succession.notice))
    assert succession.notice.startswith("colour@1 goes on, as what was asked for is gone: Photos are tagged by lite")
    assert world.loads == 0
    world.default, world.notice = "colour@2", ""
    looked(succession, lambda tagger: tagger is not None)
    assert succession.serves.name == "colour@2"


def test_a_fallback_makes_room_for_what_was_asked_for(world: World) -> None:
    world.default, world.notice = "lite", "Photos are tagged by lite."
    succession = Succession(world.choose(), world.choose, world.clock, 5.0)
    world.default, world.notice = "colour@1", ""
    looked(succession, lambda tagger: tagger is not None)
    assert (succession.serves.name, succession.serves.notice) == ("colour@1", "")


def test_a_disk_that_is_full_stops_no_tagger(world: World, succession: Succession) -> None:
    world.default, world.fails = "colour@2", OSError(28, "No space left on device")
    looked(succession, lambda tagger: "No space left on device" in succession.notice)
    world.fails = None
    looked(succession, lambda tagger: tagger is not None)
