"""Teach the adaptive tagger from a labelled folder, and show what it knows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from app_tier.adaptive.store import AdaptiveStore
from app_tier.engines import Outputs, Pixels
from app_tier.models.networks import NETWORKS
from app_tier.taggers.adaptive import AdaptiveTagger
from config.settings import Settings
from core.domain.messages import TagOptions
from core.errors import DataInvalid
from core.storage.ports import ObjectStore
from core.wiring import Backend
from tagfleet.cli.adaptive import command
from training.data import reading
from training.data.examples import Dataset
from training.fit import adapting

D = 12


class Colours:
    """An engine whose features are an image's mean colours."""

    name = "numpy"
    best_batch = 8

    def infer(self, batch: Pixels) -> Outputs:
        means: Outputs = batch.reshape(len(batch), -1, 3).mean(axis=1).astype(np.float32)
        return np.repeat(means, D // 3, axis=1)


@pytest.fixture
def store(settings: Settings) -> ObjectStore:
    return Backend(settings).store


@pytest.fixture
def tagger(store: ObjectStore) -> AdaptiveTagger:
    memory = AdaptiveStore(store, "colours-1", D)
    return AdaptiveTagger(NETWORKS["efficientnet-lite0"], Colours(), memory, TagOptions(), lambda: 0.0, 5.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six red and six green photos, in a folder for each colour."""
    root = tmp_path / "photos"
    for name, colour in (("Rose", (200, 20, 20)), ("leaf", (20, 200, 20))):
        (root / name).mkdir(parents=True)
        for number in range(6):
            tint = tuple(channel + 5 * number for channel in colour)
            Image.new("RGB", (32, 32), tint).save(root / name / f"{number}.png")
    return root


def fit(tagger: AdaptiveTagger, folder: Path, revision: int = 1) -> adapting.FitResult:
    looked_at: list[int] = []
    dataset = reading.read(folder)
    fitted = adapting.fit(tagger, dataset, revision, looked_at.append)
    assert sum(looked_at) == len(dataset.examples)
    return fitted


def said(tagger: AdaptiveTagger, colour: tuple[int, int, int]) -> str:
    picture = Image.new("RGB", (32, 32), colour)
    (found,) = tagger.infer(tagger.preprocess(picture)[None], [TagOptions()])
    return found.tags[0].name


def test_a_folder_for_each_tag_is_learned_and_learning_it_twice_changes_nothing(
    tagger: AdaptiveTagger, store: ObjectStore, folder: Path
) -> None:
    assert fit(tagger, folder) == adapting.FitResult({"Rose": 6, "leaf": 6}, ())
    assert (said(tagger, (210, 30, 30)), said(tagger, (30, 210, 30))) == ("Rose", "leaf")
    before = AdaptiveStore(store, "colours-1", D).load()[0]
    fit(tagger, folder, revision=2)
    after = AdaptiveStore(store, "colours-1", D).load()[0]
    assert after.statistics.tags == before.statistics.tags


def test_a_photo_that_lies_elsewhere_now_has_its_new_tag_alone(
    tagger: AdaptiveTagger, store: ObjectStore, folder: Path
) -> None:
    fit(tagger, folder)
    (folder / "Rose" / "0.png").rename(folder / "leaf" / "was-red.png")
    fit(tagger, folder, revision=2)
    tags = AdaptiveStore(store, "colours-1", D).load()[0].statistics.tags
    assert {key: tag.accepted.n for key, tag in tags.items()} == {"rose": 5, "leaf": 7}


def test_a_photo_in_two_folders_has_both_tags(tagger: AdaptiveTagger, store: ObjectStore, folder: Path) -> None:
    (folder / "leaf" / "both.png").write_bytes((folder / "Rose" / "0.png").read_bytes())
    fit(tagger, folder)
    state, _ = AdaptiveStore(store, "colours-1", D).load()
    assert {key: tag.accepted.n for key, tag in state.statistics.tags.items()} == {"rose": 6, "leaf": 7}
    assert len(state.images) == 12


def test_files_that_cannot_be_read_are_named(tagger: AdaptiveTagger, folder: Path) -> None:
    (folder / "leaf" / "bad.jpg").write_bytes(b"no image")
    fitted = fit(tagger, folder)
    assert fitted.photos == {"Rose": 6, "leaf": 6}
    (problem,) = fitted.problems
    assert problem.startswith(str(folder / "leaf" / "bad.jpg"))


def _empty(folder: Path) -> None:
    (folder / "sea").mkdir()


def _unreadable(folder: Path) -> None:
    (folder / "sea").mkdir()
    (folder / "sea" / "a.jpg").write_bytes(b"no image")


def _one_class(folder: Path) -> None:
    for file in (folder / "leaf").iterdir():
        file.unlink()
    (folder / "leaf").rmdir()


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (_empty, "no readable photo of 'sea'"),
        (_unreadable, r"no readable photo of 'sea' \(.*a\.jpg: not an image"),
        (_one_class, "every image has only the label 'Rose'"),
    ],
)
def test_what_cannot_be_learned_is_refused_and_nothing_is_learned(
    tagger: AdaptiveTagger, store: ObjectStore, folder: Path, spoil: Callable[[Path], None], complaint: str
) -> None:
    spoil(folder)
    with pytest.raises(DataInvalid, match=complaint):
        fit(tagger, folder)
    assert AdaptiveStore(store, "colours-1", D).etag() is None


def test_more_labels_than_it_keeps_are_refused(tagger: AdaptiveTagger) -> None:
    many = Dataset("birds", tuple(f"bird {number}" for number in range(2001)), ())
    with pytest.raises(DataInvalid, match=r"birds has 2,001 labels, and `adaptive` keeps at most 2,000"):
        adapting.fit(tagger, many, 1, lambda _: None)


def test_what_it_knows_is_shown(settings: Settings, tagger: AdaptiveTagger, folder: Path) -> None:
    home = ["--home", str(settings.home)]
    shown = CliRunner().invoke(command, ["show", *home])
    assert "nothing is learned yet" in shown.output
    fit(tagger, folder)
    shown = CliRunner().invoke(command, ["show", *home])
    assert shown.exit_code == 0, shown.output
    assert shown.output.splitlines()[0] == "colours-1, version 1: 2 tags from 12 images"
    assert "       6         0  Rose" in shown.output
