"""Trainings in processes of their own: one that is killed by the system, and one in two processes at once."""

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
from training import runs

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


def test_two_processes_learn_together_and_go_on_from_a_checkpoint(tmp_path: Path) -> None:
    source = folder_of_classes(tmp_path / "colours")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    train = [*torchrun, "-m", "--", "tagfleet", "train", source, *OPTIONS, "--batch", "4", "--accumulate", "2"]
    run([*train, "--run", tmp_path / "run", "--epochs", "2"], tmp_path)
    run([*train, "--run", tmp_path / "same", "--epochs", "2"], tmp_path)
    assert runs.read(tmp_path / "run").processes == 2
    found = torch.load(tmp_path / "run" / runs.LAST, weights_only=True)
    assert (found["step"], len(found["history"])) == (4, 2)  # an epoch: 3 batches of 4 in each process, 2 a step
    assert equal(learned(tmp_path / "run"), learned(tmp_path / "same"))
    run([*train, "--run", tmp_path / "run", "--epochs", "2"], tmp_path)  # finished: nothing is left to do
