"""A live controller's recording as the arrivals of a simulation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest
import structlog
from click.testing import CliRunner
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from config import settings as config
from config.settings import Settings
from controller.events.replay import tick_writer
from controller.loop import Controller, Hooks
from controller.policy.policy import decide
from controller.simulation.recorded import from_recording, is_recording
from controller.simulation.run import simulate
from controller.simulation.scenario import Scenario
from controller.simulation.traces import Trace
from controller.simulation.world import World
from controller.state.model import select_policy
from tagfleet.cli import cli
from tests.unit.controller.conftest import small, small_world


@pytest.fixture(autouse=True)
def log() -> Iterator[None]:
    """The command sets the log of its process; the other tests of this one have their own."""
    yield
    structlog.reset_defaults()


def recording(world: World, file: TextIO) -> Controller:
    return world.controller(hooks=Hooks(on_tick=tick_writer(file, select_policy(world.settings))))


def live(world: World, file: Path, arrivals: dict[int, int], seconds: int = 60) -> None:
    """A controller is recorded while so many images arrive in these seconds, each in the middle of its second."""
    with file.open("a") as opened:
        controller = recording(world, opened)
        for second in range(seconds):
            controller.tick()
            world.step(0.5)
            world.send(arrivals.get(second, 0))
            world.step(0.5)
        controller.tick()


def by_second(trace: Trace) -> dict[int, int]:
    found: dict[int, int] = {}
    for at, count in trace.arrivals:
        found[int(at)] = found.get(int(at), 0) + count
    return found


@given(st.dictionaries(st.integers(0, 40), st.integers(1, 90), min_size=1), st.integers(1, 8))
@hypothesis(max_examples=15, deadline=None)
def test_what_was_sent_is_found_again_at_its_second(
    tmp_path_factory: pytest.TempPathFactory, arrivals: dict[int, int], batch: int
) -> None:
    world = small_world(small(config.load({}).controller))
    world.change_workers(batch=batch, throughput=float(batch))
    file = tmp_path_factory.mktemp("recorded") / "live.jsonl"
    live(world, file, arrivals)
    assert is_recording(file)
    [trace] = from_recording(file)
    assert (trace.name, by_second(trace)) == ("live", arrivals)
    assert trace.length_s == pytest.approx(60.0)


def test_a_simulation_of_it_is_sent_as_many_images(world: World, stage: Scenario, tmp_path: Path) -> None:
    live(world, tmp_path / "live.jsonl", {3: 100, 20: 7})
    [trace] = from_recording(tmp_path / "live.jsonl")
    run = simulate(trace, "tagfleet", decide, stage, 1)
    assert run.sent == run.done == 107


def test_what_a_dead_worker_held_arrives_once(world: World, tmp_path: Path) -> None:
    with (tmp_path / "live.jsonl").open("w") as file:
        controller = recording(world, file)
        world.queue.fill(100)
        for second in range(40):
            controller.tick()
            world.step()
            if second == 6:
                busy = next(one for one in world.cloud.present if one.working)
                world.cloud.die(busy)
    [trace] = from_recording(tmp_path / "live.jsonl")
    assert trace.images == 100


def test_a_restarted_controller_neither_loses_nor_doubles_what_waits(world: World, tmp_path: Path) -> None:
    file = tmp_path / "live.jsonl"
    world.cloud.market.room = 0
    live(world, file, {1: 50}, 10)
    world.send(20)  # while nobody watches
    world.cloud.market.room = None
    live(world, file, {2: 5}, 40)
    [trace] = from_recording(file)
    assert trace.images == 75


def test_what_waited_already_arrives_at_the_beginning(world: World, tmp_path: Path) -> None:
    world.send(30)
    world.queue.dead = 4
    live(world, tmp_path / "live.jsonl", {}, 30)
    assert from_recording(tmp_path / "live.jsonl")[0].arrivals == ((0.0, 30),)


def test_what_arrives_between_two_slow_ticks_is_spread_over_them(world: World, tmp_path: Path) -> None:
    with (tmp_path / "live.jsonl").open("w") as file:
        controller = recording(world, file)
        controller.tick()
        world.queue.fill(9)
        world.now += 2.0
        controller.tick()
    assert from_recording(tmp_path / "live.jsonl")[0].arrivals == ((0.5, 4), (1.5, 5))


def test_readings_that_failed_are_made_up_for_by_the_next_one(world: World, tmp_path: Path) -> None:
    with (tmp_path / "live.jsonl").open("w") as file:
        controller = recording(world, file)
        for broken in ([], ["depth"], ["instances"], []):
            world.faults.broken = set(broken)
            controller.tick()
            world.send(5)
            world.now += 1.0
    [trace] = from_recording(tmp_path / "live.jsonl")
    assert trace.images == 15


def test_each_pool_is_a_trace(settings: Settings, tmp_path: Path) -> None:
    world = small_world(small(settings.controller), ["one", "two", "idle"])
    with (tmp_path / "live.jsonl").open("w") as file:
        controller = recording(world, file)
        world.send(12, "one")
        world.send(3, "two")
        for _ in range(20):
            controller.tick()
            world.step()
    found = from_recording(tmp_path / "live.jsonl")
    assert [(trace.name, trace.images) for trace in found] == [("live-one", 12), ("live-two", 3)]


def test_a_recording_of_nothing_or_with_a_broken_line_is_refused(world: World, tmp_path: Path) -> None:
    file = tmp_path / "live.jsonl"
    live(world, file, {}, 3)
    with pytest.raises(ValueError, match=r"live\.jsonl: nothing arrived"):
        from_recording(file)
    with file.open("a") as opened:
        opened.write('{"observation": {}}\n')
    with pytest.raises(ValueError, match=r"live\.jsonl, line 6"):
        from_recording(file)


def test_the_command_takes_a_recording(world: World, tmp_path: Path) -> None:
    file = tmp_path / "monday.jsonl"
    live(world, file, {3: 100})
    said = CliRunner().invoke(cli, ["simulate", "--trace", str(file), "--policy", "tagfleet"])
    assert said.exit_code == 0, said.output
    assert "monday" in said.output
    file.write_text(file.read_text().splitlines()[0] + "\nhello\n")
    said = CliRunner().invoke(cli, ["simulate", "--trace", str(file)])
    assert said.exit_code == 2
    assert "monday.jsonl, line 2" in said.output
