from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from controller.events.replay import BadRecording, read, replay, tick_writer
from controller.loop import Hooks
from controller.policy.policy import decide
from controller.simulation.compare import policy_named
from controller.simulation.world import World
from controller.state.model import select_policy
from tagfleet.cli import cli


def recorded(world: World) -> str:
    """Half a minute of a controller with 200 images to do."""
    file = io.StringIO()
    controller = world.controller(hooks=Hooks(on_tick=tick_writer(file, select_policy(world.settings))))
    world.queue.fill(200)
    for _ in range(30):
        controller.tick()
        world.step()
    return file.getvalue()


def test_the_recorded_policy_would_have_done_the_same(world: World) -> None:
    policy, ticks = read(recorded(world).splitlines())
    assert policy == select_policy(world.settings)
    found = list(ticks)
    assert len(found) == 30
    assert list(replay(found, decide, policy)) == []


def test_a_restarted_controller_goes_on_with_the_file(world: World) -> None:
    text = recorded(world)
    assert len(list(read((text + text).splitlines())[1])) == 60


def test_a_recording_that_cannot_be_written_ends_no_controller(world: World) -> None:
    with Path("/dev/full").open("a") as file:
        controller = world.controller(hooks=Hooks(on_tick=tick_writer(file, select_policy(world.settings))))
        world.queue.fill(200)
        assert controller.tick()
    assert world.cloud.present


def test_another_policy_would_not(world: World) -> None:
    policy, ticks = read(recorded(world).splitlines())
    first = next(replay(ticks, policy_named("per-message"), policy))
    assert (first.recorded.launch, first.other.launch) == (3, 4)
    policy, ticks = read(recorded(world).splitlines())
    assert next(replay(ticks, decide, replace(policy, max_workers=1))).other.launch == 1


def test_an_operators_cap_is_replayed_unless_another_one_is_given(world: World) -> None:
    world.roster.set_cap(2)
    policy, ticks = read(recorded(world).splitlines())
    found = list(ticks)
    assert {tick.observation.cap for tick in found} == {2}
    assert list(replay(found, decide, policy)) == []
    first = next(replay(found, decide, policy, cap=3))
    assert (first.recorded.launch, first.other.launch) == (2, 3)


def test_what_is_no_recording_is_refused_with_its_line(world: World) -> None:
    with pytest.raises(BadRecording, match="line 1"):
        read(["hello"])
    with pytest.raises(BadRecording, match="version 9"):
        read(['{"recording": 9, "policy": {}}'])
    _, ticks = read([*recorded(world).splitlines(), '{"observation": {}}'])
    with pytest.raises(BadRecording, match="line 32"):
        list(ticks)


def test_the_command_prints_what_differs(world: World, tmp_path: Path) -> None:
    file = tmp_path / "ticks.jsonl"
    file.write_text(recorded(world))
    said = CliRunner().invoke(cli, ["controller", "replay", str(file), "--policy", "per-message"])
    assert said.exit_code == 0, said.output
    assert "0.0 s  resnet50: launch 4 instead of launch 3" in said.output
    assert said.output.splitlines()[-1].endswith("decisions differ")
