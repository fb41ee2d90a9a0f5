"""Trainings in separate processes: one is killed by SIGKILL, and one runs in two processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.unit.training.pictures import folder_of_classes
from training.fit import runs

ROOT = Path(__file__).parents[3]
OPTIONS = [
    *("--arch", "timm/test_byobnet", "--image-size", "32", "--from-scratch", "--amp", "off"),
    *("--lr", "0.01", "--patience", "0", "--workers", "1"),
]
PATIENCE_S = 400.0

pytestmark = [pytest.mark.long, pytest.mark.timeout(1500)]


def environment(tmp_path: Path) -> dict[str, str]:
    return {
        **os.environ,
        "TAGFLEET_HOME": str(tmp_path / "home"),
        "TAGFLEET_CACHE": str(tmp_path / "cache"),
        "OMP_NUM_THREADS": "1",
    }


def run(command: Sequence[object], tmp_path: Path) -> None:
    done = subprocess.run(
        list(map(str, command)), env=environment(tmp_path), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def learned(folder: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(folder / runs.LAST, weights_only=True)["learner"]["network"]
    return state


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_training_killed_by_the_system_ends_as_the_one_that_was_not(tmp_path: Path) -> None:
    source = folder_of_classes(tmp_path / "colours")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    train = [sys.executable, "-m", "tagfleet", "train", source, *OPTIONS, "--batch", "2", "--epochs", "5"]
    run([*train, "--run", whole], tmp_path)
    process = subprocess.Popen(
        list(map(str, [*train, "--run", killed, "--save-every", "1"])),
        env=environment(tmp_path),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + PATIENCE_S
    while not (killed / runs.HISTORY).exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -9
    begun = torch.load(killed / runs.LAST, weights_only=True)
    assert not begun["finished"]
    run([*train, "--run", killed], tmp_path)
    assert equal(learned(killed), learned(whole))
    assert equal(load_file(killed / runs.BEST), load_file(whole / runs.BEST))


def torchrun(processes: int) -> list[object]:
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", processes, "-m", "--"]


def test_two_processes_share_an_epoch(tmp_path: Path) -> None:
    source = folder_of_classes(tmp_path / "colours")
    train = [*torchrun(2), "tagfleet", "train", source, *OPTIONS, "--batch", "4", "--accumulate", "2", "--epochs", "2"]
    run([*train, "--run", tmp_path / "run"], tmp_path)
    assert runs.read(tmp_path / "run").processes == 2
    found = torch.load(tmp_path / "run" / runs.LAST, weights_only=True)
    assert (found["step"], len(found["history"])) == (4, 2)  # an epoch: 3 batches of 4 in each process, 2 a step
    run([*train, "--run", tmp_path / "run"], tmp_path)  # finished: nothing is left to do


@pytest.mark.parametrize("count", [2, 3])
def test_several_processes_killed_within_an_epoch_end_as_those_that_were_not(tmp_path: Path, count: int) -> None:
    source = folder_of_classes(tmp_path / "colours")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    training = [*torchrun(count), "tests.unit.training.peer", "training", source]
    run([*training, whole, 0], tmp_path)
    with pytest.raises(AssertionError, match="SIGKILL"):
        run([*training, killed, 3], tmp_path)
    begun = torch.load(killed / runs.LAST, weights_only=True)
    assert (begun["step"], len(begun["losses"])) == (2, 2)  # of the first epoch's six, or four
    run([*training, killed, 0], tmp_path)
    assert equal(learned(killed), learned(whole))
    assert equal(load_file(killed / runs.BEST), load_file(whole / runs.BEST))


def test_a_step_of_two_processes_is_that_of_one_over_all_their_images(tmp_path: Path) -> None:
    run([*torchrun(2), "tests.unit.training.peer", "step", tmp_path], tmp_path)
    alone = load_file(tmp_path / "alone.safetensors")
    for rank in range(2):
        together = load_file(tmp_path / f"{rank}.safetensors")
        assert together.keys() == alone.keys()
        assert any(name.startswith("gradient.") for name in alone)
        for name, value in alone.items():
            torch.testing.assert_close(together[name], value, rtol=1e-4, atol=1e-6)
