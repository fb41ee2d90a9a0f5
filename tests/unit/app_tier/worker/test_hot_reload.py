"""A new version is loaded beside the old one, and a broken one never replaces it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from app_tier.taggers import Tagger, TaggerHandle
from app_tier.worker.hot_reload import HotReload
from bench.deployment import wait_until
from core.errors import Unavailable, WeightsInvalid, WeightsMissing
from tests.unit.app_tier.conftest import ColourTagger


class World:
    """A registry with one name, and a clock that jumps ahead at each poll."""

    def __init__(self) -> None:
        self.default = "colour@1"
        self.fails: Exception | None = None
        self.away_for = 0
        """Loads."""
        self.loads = 0
        self.notice = ""
        self.content = "as it was put"
        self._now = 0.0

    def choose(self) -> TaggerHandle:
        name = self.default
        if name == "colour@gone":
            raise WeightsMissing("there is no model 'colour@gone' in the registry")
        if isinstance(self.fails, OSError):
            raise self.fails
        return TaggerHandle(
            name, self._load, notice=self.notice, current=lambda: self._current(name), content=self._content
        )

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
def hot_reload(world: World) -> HotReload:
    return HotReload(world.choose(), world.choose, world.clock, 5.0)


def poll_until(hot_reload: HotReload, until: Callable[[Tagger | None], bool]) -> None:
    wait_until(lambda: until(hot_reload.poll()))


def test_nothing_is_loaded_while_the_version_is_current(world: World, hot_reload: HotReload) -> None:
    for _ in range(5):
        assert hot_reload.poll() is None
    assert world.loads == 0


def test_a_new_version_is_returned_once(world: World, hot_reload: HotReload) -> None:
    world.default = "colour@2"
    poll_until(hot_reload, lambda tagger: tagger is not None)
    assert [hot_reload.poll() for _ in range(5)] == [None] * 5
    assert world.loads == 1


@pytest.mark.parametrize("error", [WeightsInvalid("the weights of colour@2 are damaged"), ZeroDivisionError("why")])
def test_a_broken_version_is_tried_once_and_named(world: World, hot_reload: HotReload, error: Exception) -> None:
    world.default, world.fails = "colour@2", error
    poll_until(hot_reload, lambda tagger: bool(hot_reload.notice))
    assert hot_reload.notice.startswith("colour@1 keeps serving, as colour@2 cannot be loaded: ")
    assert str(error) in hot_reload.notice
    for _ in range(20):
        assert hot_reload.poll() is None
    assert world.loads == 1
    world.default, world.fails = "colour@3", None
    poll_until(hot_reload, lambda tagger: tagger is not None)
    assert hot_reload.notice == ""


def test_a_broken_version_that_is_put_again_is_tried_again(world: World, hot_reload: HotReload) -> None:
    world.default, world.fails = "colour@2", WeightsInvalid("the weights of colour@2 are damaged")
    poll_until(hot_reload, lambda tagger: bool(hot_reload.notice))
    world.content = "put again, and still broken"
    poll_until(hot_reload, lambda tagger: world.loads == 2)
    for _ in range(20):
        assert hot_reload.poll() is None
    assert world.loads == 2
    world.content, world.fails = "put again", None
    poll_until(hot_reload, lambda tagger: tagger is not None)
    assert (hot_reload.serving.name, hot_reload.notice) == ("colour@2", "")


def test_the_tagger_keeps_serving_after_its_version_is_removed(world: World, hot_reload: HotReload) -> None:
    world.default = "colour@gone"
    poll_until(hot_reload, lambda tagger: "there is no model" in hot_reload.notice)
    world.default = "colour@1"
    poll_until(hot_reload, lambda tagger: hot_reload.notice == "")
    assert world.loads == 0


def test_an_unavailable_store_is_waited_for(world: World, hot_reload: HotReload) -> None:
    world.default, world.fails = "colour@2", Unavailable("the store is away")
    for _ in range(20):
        assert hot_reload.poll() is None
    world.fails = None
    poll_until(hot_reload, lambda tagger: tagger is not None)


def test_a_store_that_fails_during_loading_is_waited_for(world: World, hot_reload: HotReload) -> None:
    world.default, world.away_for = "colour@2", 2
    poll_until(hot_reload, lambda tagger: tagger is not None)
    assert (world.loads, hot_reload.notice) == (3, "")


def test_a_fallback_does_not_replace_a_working_tagger(world: World, hot_reload: HotReload) -> None:
    world.default, world.notice = "lite", "Photos are tagged by lite: there is no model 'colour'."
    poll_until(hot_reload, lambda tagger: bool(hot_reload.notice))
    assert hot_reload.notice.startswith(
        "colour@1 keeps serving, as the tagger asked for is gone: Photos are tagged by lite"
    )
    assert world.loads == 0
    world.default, world.notice = "colour@2", ""
    poll_until(hot_reload, lambda tagger: tagger is not None)
    assert hot_reload.serving.name == "colour@2"


def test_the_tagger_asked_for_replaces_a_fallback(world: World) -> None:
    world.default, world.notice = "lite", "Photos are tagged by lite."
    hot_reload = HotReload(world.choose(), world.choose, world.clock, 5.0)
    world.default, world.notice = "colour@1", ""
    poll_until(hot_reload, lambda tagger: tagger is not None)
    assert (hot_reload.serving.name, hot_reload.serving.notice) == ("colour@1", "")


def test_a_full_disk_does_not_stop_the_tagger(world: World, hot_reload: HotReload) -> None:
    world.default, world.fails = "colour@2", OSError(28, "No space left on device")
    poll_until(hot_reload, lambda tagger: "No space left on device" in hot_reload.notice)
    world.fails = None
    poll_until(hot_reload, lambda tagger: tagger is not None)
