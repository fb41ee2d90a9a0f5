"""A small training learns, can be killed at any step, and keeps its best weights whatever fails."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from core.errors import DataInvalid, RunInvalid, TrainingStopped, WeightsInvalid
from tests.unit.training.full_disk import no_file_larger_than
from tests.unit.training.pictures import folder_of_classes
from tests.unit.training.small_run import Killed, Recorder, killed_at, task, trained
from training.fit import runs

# 24 training pictures, batches of 4, two of them a step, three epochs: 9 steps


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of_classes(tmp_path_factory.mktemp("data") / "colours")


@pytest.fixture(scope="module")
def whole(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    trained(source, folder)
    return folder


def same(one: object, other: object) -> bool:
    """Compare nested values bit for bit."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(same, one, other))
    return one == other


def states(folder: Path) -> list[object]:
    """Return everything in a run's folder that must not depend on interruptions."""
    last = torch.load(folder / runs.LAST, weights_only=True)
    for epoch in last["history"]:
        del epoch["images_per_s"]
    return [last, load_file(folder / runs.BEST)]


def test_it_learns_colours(source: Path, tmp_path: Path) -> None:
    recorder = Recorder()
    outcome = trained(source, tmp_path / "run", recorder, epochs=12, patience=0)
    assert outcome.best.mAP > 0.9
    assert recorder.losses[36] < 0.6 * recorder.losses[1]
    with (tmp_path / "run" / runs.HISTORY).open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == list(range(1, 13))
    assert float(rows[outcome.best.epoch - 1]["mAP"]) == outcome.best.mAP


@pytest.mark.parametrize("step", [1, 3, 5, 8])
def test_killed_at_any_step_and_resumed_it_is_the_run_that_was_never_killed(
    source: Path, whole: Path, tmp_path: Path, step: int
) -> None:
    folder = tmp_path / "run"
    with pytest.raises(Killed):
        trained(source, folder, killed_at(step), save_every=2)
    again = Recorder()
    trained(source, folder, again, save_every=2)
    assert again.began_at is not None
    assert step - 3 < again.began_at < step
    assert same(states(folder), states(whole))


@pytest.mark.long
@pytest.mark.parametrize(
    "changed",
    [
        {"loss": "focal", "sampler": "weighted", "amp": "bf16", "ema": 0.0},
        {"loss": "asl", "sampler": "oversample", "network": "timm/test_vit", "frozen_backbone": True, "workers": 1},
    ],
    ids=["weighted in bf16", "oversampled, a frozen transformer, decoded elsewhere"],
)
def test_so_it_is_with_other_options(source: Path, tmp_path: Path, changed: dict[str, Any]) -> None:
    trained(source, tmp_path / "whole", **changed)
    with pytest.raises(Killed):
        trained(source, tmp_path / "killed", killed_at(2), save_every=1, **changed)
    trained(source, tmp_path / "killed", save_every=1, **changed)
    assert same(states(tmp_path / "killed"), states(tmp_path / "whole"))


def test_a_frozen_backbone_stays_as_it_was(source: Path, tmp_path: Path) -> None:
    trained(source, tmp_path / "one", frozen_backbone=True, epochs=1)
    trained(source, tmp_path / "three", frozen_backbone=True, ema=0.0)
    one, three = load_file(tmp_path / "one" / runs.BEST), load_file(tmp_path / "three" / runs.BEST)
    moved = {name.split(".")[0] for name in one if not torch.equal(one[name], three[name])}
    assert moved == {"head"}


def test_a_finished_run_is_told_and_not_repeated(source: Path, whole: Path, tmp_path: Path) -> None:
    before = (whole / runs.LAST).stat().st_mtime_ns
    recorder = Recorder()
    elsewhere = shutil.copytree(source, tmp_path / "under another name")
    outcome = trained(elsewhere, whole, recorder)
    assert (recorder.losses, outcome.epochs) == ({}, 3)
    assert (whole / runs.LAST).stat().st_mtime_ns == before


def test_it_ends_when_it_no_longer_gets_better(source: Path, tmp_path: Path) -> None:
    outcome = trained(source, tmp_path / "run", lr=1e-12, weight_decay=0.0, ema=0.0, epochs=30, patience=2, clip=0.0)
    assert outcome.epochs <= 8
    assert outcome.epochs == outcome.best.epoch + 2


def test_a_loss_that_is_no_number_stops_it_and_keeps_the_best(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(Killed):
        trained(source, folder, killed_at(5), save_every=4)
    last = torch.load(folder / runs.LAST, weights_only=True)
    for tensor in last["learner"]["network"].values():
        tensor.mul_(1e30 if tensor.is_floating_point() else 1)  # still numbers; what comes of them are none
    torch.save(last, folder / runs.LAST)
    kept = [(folder / name).read_bytes() for name in (runs.LAST, runs.BEST)]
    with pytest.raises(
        TrainingStopped, match=r"step 5 \(epoch 2\) .*nan.*best.safetensors keeps the best so far, epoch 1"
    ):
        trained(source, folder)
    assert kept == [(folder / name).read_bytes() for name in (runs.LAST, runs.BEST)]


def test_a_loss_that_is_no_number_at_once_leaves_nothing_to_keep(source: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingStopped, match="no epoch was finished, so no weights are kept"):
        trained(source, tmp_path / "run", lr=1e30, clip=0.0)


def test_a_disk_that_fills_up_amid_a_checkpoint_costs_nothing(source: Path, whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(Killed):
        trained(source, folder, killed_at(5), save_every=4)
    good = (folder / runs.LAST).read_bytes()
    with (
        no_file_larger_than(len(good) // 2),
        pytest.raises(TrainingStopped, match=r"last\.pt could not be written: .*; its previous version is kept"),
    ):
        trained(source, folder, save_every=1)
    assert (folder / runs.LAST).read_bytes() == good
    assert {path.name for path in folder.iterdir()} == {runs.RUN, runs.SPLITS, runs.LAST, runs.BEST, runs.HISTORY}
    trained(source, folder)
    assert same(states(folder), states(whole))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"network": "timm/test_resnet"}, "started with network timm/test_byobnet, not timm/test_resnet"),
        ({"lr": 0.5, "loss": "asl"}, "started with loss bce, not asl; it was started with lr 0.01, not 0.5"),
    ],
)
def test_another_run_in_the_same_folder_is_refused(
    source: Path, whole: Path, changed: dict[str, Any], told: str
) -> None:
    with pytest.raises(RunInvalid, match=told):
        trained(source, whole, **changed)


def test_other_labels_or_another_split_are_refused(source: Path, whole: Path, tmp_path: Path) -> None:
    other = folder_of_classes(tmp_path / "other")
    (other / "red").rename(other / "rot")
    with pytest.raises(DataInvalid, match="splits other data"):
        trained(other, whole)


def test_a_checkpoint_of_another_run_is_refused(source: Path, whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    task(source, folder, seed=4)
    (folder / runs.LAST).write_bytes((whole / runs.LAST).read_bytes())
    with pytest.raises(RunInvalid, match="not a checkpoint of the run"):
        trained(source, folder, seed=4)


def test_a_checkpoint_that_would_run_code_is_not_loaded(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    task(source, folder)
    torch.save({"run": Path("x")}, folder / runs.LAST)
    with pytest.raises(RunInvalid, match=r"cannot be read as a checkpoint: .*; restore it from a copy, or delete it"):
        trained(source, folder)
    (folder / runs.LAST).write_bytes(b"half of one")
    with pytest.raises(RunInvalid, match=r"cannot be read as a checkpoint: .*; restore it from a copy, or delete it"):
        trained(source, folder)


def test_images_that_cannot_be_read_are_skipped_and_named_or_refused(tmp_path: Path) -> None:
    source = folder_of_classes(tmp_path / "colours")
    for number in (2, 5):
        path = source / "red" / f"{number}.png"
        path.write_bytes(path.read_bytes()[:200])
    recorder = Recorder()
    outcome = trained(source, tmp_path / "run", recorder, epochs=1)
    bad = {text.partition(": ")[0] for text in outcome.skipped}
    assert bad <= {str(source / "red" / f"{number}.png") for number in (2, 5)}
    assert bad
    assert all(f"skipped {text}" in recorder.lines for text in outcome.skipped)
    with pytest.raises(DataInvalid, match=r"\d\.png: .*Without --strict such images are skipped"):
        trained(source, tmp_path / "strict", strict=True)


def test_a_batch_of_more_images_than_there_are_is_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(DataInvalid, match="lower --batch"):
        trained(source, tmp_path / "run", batch=100)


def test_a_size_that_a_network_does_not_take_is_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsInvalid, match="does not accept images of 32 × 32 pixels"):
        trained(source, tmp_path / "run", network="timm/test_vit3")


def test_a_label_without_an_image_is_told(tmp_path: Path) -> None:
    source = folder_of_classes(tmp_path / "colours")
    (source / "violet").mkdir()
    recorder = Recorder()
    trained(source, tmp_path / "run", recorder, epochs=1)
    assert any("violet" in line and "cannot be learned" in line for line in recorder.lines)


def test_another_seed_gives_another_network(source: Path, whole: Path, tmp_path: Path) -> None:
    trained(source, tmp_path / "other", seed=4)
    one, other = load_file(tmp_path / "other" / runs.BEST), load_file(whole / runs.BEST)
    assert not all(np.allclose(one[name], other[name]) for name in one)
