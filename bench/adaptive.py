"""Measure how corrections improve the adaptive tagger: real features of real photos, simulated people.

The photos are the annotated boxes of COCO's images, the tags COCO's own super-categories. All boxes of one image stay
together, so held-back photos come from other images than the learned ones.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
from PIL import Image

from app_tier.adaptive import encoding, statistics
from app_tier.adaptive.state import ImageFeedback, LearnedState
from app_tier.adaptive.statistics import Features
from app_tier.models.request import ModelRequest
from app_tier.taggers import Frame
from app_tier.taggers.adaptive import CUMULATIVE, AdaptiveTagger, choose_tags, find_backbone, load
from bench.data import test_data
from config import settings as config
from config.settings import PoolSettings
from core.domain.messages import Opinion, TagOptions
from core.wiring import Backend
from training.fit.metrics import reliability

Numbers = npt.NDArray[np.float64]

_GROUPS = {
    "person": "person",
    "vehicle": "bicycle, car, motorcycle, airplane, bus, train, truck, boat",
    "outdoor": "traffic light, fire hydrant, stop sign, parking meter, bench",
    "animal": "bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe",
    "accessory": "backpack, umbrella, handbag, tie, suitcase",
    "sports": "frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard, surfboard,"
    " tennis racket",
    "kitchen": "bottle, wine glass, cup, fork, knife, spoon, bowl",
    "food": "banana, apple, sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake",
    "furniture": "chair, couch, potted plant, bed, dining table, toilet",
    "electronic": "tv, laptop, mouse, remote, keyboard, cell phone",
    "appliance": "microwave, oven, toaster, sink, refrigerator",
    "indoor": "book, clock, vase, scissors, teddy bear, hair drier, toothbrush",
}
_GROUP_OF = {name: group for group, names in _GROUPS.items() for name in names.split(", ")}

SMALLEST = 48
"""Pixels of a box's shorter side."""
_FEWEST = 8
"""Boxes of a tag; rarer ones are left out."""
_HELD_BACK = 0.4
_AT_ONCE = 16


@dataclass(frozen=True)
class Photos:
    """Each photo's tag and the image that it was cut from, (N,) each, and its features (N, d)."""

    features: Features
    tags: npt.NDArray[np.str_]
    images: npt.NDArray[np.int64]

    def __getitem__(self, which: npt.NDArray[np.intp]) -> Photos:
        return Photos(self.features[which], self.tags[which], self.images[which])

    def __len__(self) -> int:
        return len(self.tags)


@dataclass(frozen=True)
class Curve:
    """Shares of held-back photos, (repeats, rounds + 1); each tag weighs the same. `corrected`: photos, by round."""

    corrected: Numbers
    top_1: Numbers
    top_3: Numbers
    given: Numbers
    """The right tag is among those that the tagger gives."""
    wrong: Numbers
    """Wrong tags for each photo."""


def tagger(cache: str) -> AdaptiveTagger:
    """Return an untrained adaptive tagger on a backbone that every installation has."""
    with tempfile.TemporaryDirectory(prefix="tagfleet-bench-") as home:
        settings = config.load({}, flags={"home": home, "cache": cache})
        pool = PoolSettings(tagger="adaptive", backbone="efficientnet-lite0")
        wanted = ModelRequest("adaptive", pool, settings, Backend(settings).store)
        return load(find_backbone(wanted), wanted)


def photos(folder: Path, eyes: AdaptiveTagger) -> Photos:
    """Of a folder with COCO's `instances.json` and its `images`."""
    found = list(_boxes(folder, eyes))
    rows = [eyes.features(np.stack([frame for frame, _, _ in some])) for some in _portions(found)]
    every = Photos(
        np.concatenate(rows), np.array([tag for _, tag, _ in found]), np.array([image for _, _, image in found])
    )
    often = [tag for tag, count in Counter(every.tags.tolist()).items() if count >= _FEWEST]
    return every[np.flatnonzero(np.isin(every.tags, often))]


def _boxes(folder: Path, eyes: AdaptiveTagger) -> Iterator[tuple[Frame, str, int]]:
    index = json.loads((folder / "instances.json").read_text())
    names = {category["id"]: category["name"] for category in index["categories"]}
    files = {image["id"]: folder / "images" / image["file_name"] for image in index["images"]}
    for box in index["annotations"]:
        x, y, width, height = box["bbox"]
        if min(width, height) >= SMALLEST and not box.get("iscrowd"):
            with Image.open(files[box["image_id"]]) as image:
                cut = image.convert("RGB").crop((int(x), int(y), int(x + width), int(y + height)))
            yield eyes.preprocess(cut), _GROUP_OF[names[box["category_id"]]], box["image_id"]


def _portions(found: Sequence[tuple[Frame, str, int]]) -> Iterator[Sequence[tuple[Frame, str, int]]]:
    for first in range(0, len(found), _AT_ONCE):
        yield found[first : first + _AT_ONCE]


def parted(every: Photos, seed: int) -> tuple[Photos, Photos]:
    """Return the photos to learn, in order, and the held-back ones; no image is on both sides."""
    random = np.random.default_rng(seed)
    images = random.permutation(np.unique(every.images))
    back = np.isin(every.images, images[: round(_HELD_BACK * len(images))])
    return every[random.permutation(np.flatnonzero(~back))], every[np.flatnonzero(back)]


def learning(every: Photos, *, repeats: int, rounds: int, a_round: int) -> Curve:
    """Measure after each round, in which people correct more photos: they add missing tags and reject wrong ones."""
    measured = []
    for seed in range(repeats):
        shown, held = parted(every, seed)
        state = LearnedState.empty(every.features.shape[1])
        rows = [_measured(state, held)]
        for number in range(rounds):
            which = np.arange(number * a_round, min((number + 1) * a_round, len(shown)))
            state = state.with_feedback(list(_corrections(state, shown[which], number)))
            rows.append(_measured(state, held))
        measured.append(rows)
    table: Numbers = np.moveaxis(np.array(measured, np.float64), 2, 0)
    return Curve(a_round * np.arange(rounds + 1, dtype=np.float64), *table)


@dataclass(frozen=True)
class NewTag:
    """After 0, 1, … examples, (examples + 1,) each: in which share of its own and of all other held-back photos a tag
    comes first that nobody has named before.
    """

    own: Numbers
    others: Numbers


def new_tag(every: Photos, *, repeats: int, most: int) -> NewTag:
    """Make each tag new in turn, after all others were learned."""
    measured: list[list[tuple[float, float]]] = [[] for _ in range(most + 1)]
    for seed in range(repeats):
        shown, held = parted(every, seed)
        for tag in sorted(set(held.tags.tolist())):
            own, others = np.flatnonzero(shown.tags == tag), np.flatnonzero(shown.tags != tag)
            if len(own) < most:
                continue
            before = LearnedState.empty(every.features.shape[1]).with_feedback(list(_named(shown[others], "other")))
            for count in range(most + 1):
                model = before.with_feedback(list(_named(shown[own[:count]], "own"))).model()
                best = model.probabilities(held.features)[:, :-1].argmax(axis=1)
                first = np.array([model.names[index] == tag for index in best])
                measured[count].append((first[held.tags == tag].mean(), first[held.tags != tag].mean()))
    of_own, of_others = np.array([np.mean(of, axis=0) for of in measured]).T
    return NewTag(of_own, of_others)


def calibration(every: Photos, *, repeats: int) -> tuple[float, float]:
    """How far the confidence of the likeliest outcome, "none of these" among them, is from the share of times that it
    is right, when all was learned: with the fitted temperature, and without any.
    """
    confidence: tuple[list[float], list[float]] = ([], [])
    right: tuple[list[bool], list[bool]] = ([], [])
    for seed in range(repeats):
        shown, held = parted(every, seed)
        model = LearnedState.empty(every.features.shape[1]).with_feedback(list(_named(shown, "own"))).model()
        for which, temperature in enumerate((model.temperature, 1.0)):
            model.temperature = temperature
            shares = model.probabilities(held.features)
            outcomes = np.array([*model.names, ""])[shares.argmax(axis=1)]
            confidence[which].extend(shares.max(axis=1))
            right[which].extend(outcomes == held.tags)
    fitted, none = (
        reliability(np.array(of), np.array(truth)).error for of, truth in zip(confidence, right, strict=True)
    )
    return fitted, none


def _corrections(state: LearnedState, shown: Photos, number: int) -> Iterator[ImageFeedback]:
    model = state.model()
    for index, shares in enumerate(model.probabilities(shown.features)):
        tag = str(shown.tags[index])
        wrong = [name for name in _given(model.names, shares) if name != tag]
        opinions = [Opinion(name=tag, wanted=True), *(Opinion(name=name, wanted=False) for name in wrong)]
        yield ImageFeedback(f"{number}_{index}", 1, tuple(opinions), shown.features[index])


def _named(shown: Photos, who: str) -> Iterator[ImageFeedback]:
    for index, tag in enumerate(shown.tags):
        yield ImageFeedback(f"{who}_{index}", 1, (Opinion(name=str(tag), wanted=True),), shown.features[index])


def _given(names: Sequence[str], shares: Numbers) -> list[str]:
    defaults = TagOptions(top_k=5, min_confidence=0.05, cumulative=CUMULATIVE)
    return [tag.name for tag in choose_tags(shares, names, TagOptions(), defaults)]


def _measured(state: LearnedState, held: Photos) -> tuple[float, float, float, float]:
    """Return top-1, top-3, given and wrong: the mean over tags of the mean over their photos."""
    model = state.model()
    rows: dict[str, list[tuple[bool, bool, bool, int]]] = {}
    for shares, tag in zip(model.probabilities(held.features), held.tags.tolist(), strict=True):
        ranked = [model.names[index] for index in np.argsort(-shares[:-1])]
        given = _given(model.names, shares)
        rows.setdefault(tag, []).append(
            (ranked[:1] == [tag], tag in ranked[:3], tag in given, sum(name != tag for name in given))
        )
    top_1, top_3, found, wrong = np.mean([np.mean(of, axis=0) for of in rows.values()], axis=0)
    return float(top_1), float(top_3), float(found), float(wrong)


def lines(every: Photos, curve: Curve, fresh: NewTag) -> Iterator[str]:
    """Yield the number of boxes by tag, and both curves as Markdown tables."""
    tags = Counter(every.tags.tolist())
    yield f"{len(every)} boxes of {len(set(every.images.tolist()))} images: " + ", ".join(
        f"{name} {count}" for name, count in tags.most_common()
    )
    yield f"chance: top-1 {1 / len(tags):.2f}, top-3 {3 / len(tags):.2f}"
    yield ""
    yield "| corrected photos | top-1 | top-3 | right tag given | wrong tags given |"
    yield "|---|---|---|---|---|"
    for number, count in enumerate(curve.corrected):
        figures = (of[:, number].mean() for of in (curve.top_1, curve.top_3, curve.given, curve.wrong))
        yield f"| {count:.0f} | " + " | ".join(f"{figure:.2f}" for figure in figures) + " |"
    yield ""
    yield "| examples of a new tag | " + " | ".join(map(str, range(len(fresh.own)))) + " |"
    yield "|---" * (len(fresh.own) + 1) + "|"
    for name, shares in (("its own photos where it comes first", fresh.own), ("other photos", fresh.others)):
        yield f"| {name} | " + " | ".join(f"{share:.2f}" for share in shares) + " |"


def size(tags: int, dimensions: int = 1280) -> str:
    """Describe a state with ten photos of each tag: its size, and the times to write it and to read it into a model."""
    random = np.random.default_rng(0)
    found = statistics.to_features(np.maximum(0.0, random.normal(size=(10 * tags, dimensions))))
    every = Photos(found, np.array([f"tag {number % tags}" for number in range(len(found))]), np.arange(len(found)))
    state = LearnedState.empty(dimensions).with_feedback(list(_named(every, "own")))
    started = time.process_time()
    written = encoding.encode_state(state)
    between = time.process_time()
    encoding.decode_state(written, "").model()
    ended = time.process_time()
    return (
        f"{tags} tags of 10 photos: {len(written) / 1e6:.1f} MB, "
        f"written in {between - started:.1f} s of processor time, read in {ended - between:.1f} s"
    )


def plot(curve: Curve, fresh: NewTag, file: Path) -> None:
    """Draw both curves into an image file."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 3.8), layout="constrained", width_ratios=(3, 2))
    for name, of in (("top-3", curve.top_3), ("top-1", curve.top_1)):
        low, high = np.percentile(of, (25, 75), axis=0)
        (line,) = left.plot(curve.corrected, of.mean(axis=0), marker="o", label=name)
        left.fill_between(curve.corrected, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
    left.set(xlabel="photos that people corrected", ylabel="share of held-back photos", ylim=(0, 1))
    left.set_title("Corrections, round by round (mean and quartiles)")
    left.legend()
    for name, shares in (("its own photos", fresh.own), ("photos of other tags", fresh.others)):
        right.plot(range(len(shares)), shares, marker="o", label=name)
    right.set(xlabel="examples", ylabel="share where it comes first", ylim=(0, 1), title="A tag that no model knew")
    right.legend()
    figure.savefig(file, dpi=110)
    pyplot.close(figure)


@click.command()
@click.option("--coco", type=click.Path(exists=True, path_type=Path), help="folder of COCO's images, instances.json")
@click.option("--repeats", default=20, help="choices of the photos held back")
@click.option("--rounds", default=10, help="rounds of corrections")
@click.option("--docs", type=click.Path(file_okay=False, path_type=Path), help="draw adaptive.png into this folder")
@click.option("--cache", default="~/.cache/tagfleet", help="where converted engines are kept")
def command(coco: Path | None, repeats: int, rounds: int, docs: Path | None, cache: str) -> Iterator[str]:
    """Measure the adaptive tagger's accuracy by rounds of corrections, and how it learns a new tag."""
    found = test_data(os.environ)
    folder = coco or (found and found / "coco")
    if folder is None:
        raise click.UsageError("name a folder of COCO's with --coco: there is no test data (TAGFLEET_TEST_DATA)")
    every = photos(folder, tagger(cache))
    curve = learning(every, repeats=repeats, rounds=rounds, a_round=12)
    fresh = new_tag(every, repeats=repeats, most=5)
    yield from lines(every, curve, fresh)
    fitted, none = calibration(every, repeats=repeats)
    yield f"expected calibration error {fitted:.2f}; without a temperature {none:.2f}"
    for tags in (100, 1000):
        yield size(tags)
    if docs is not None:
        plot(curve, fresh, docs / "adaptive.png")
