"""Teach the adaptive tagger from a labelled dataset, as if people had tagged each photo."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from app_tier.adaptive.state import MAX_TAGS, ImageFeedback
from app_tier.adaptive.statistics import Features
from app_tier.taggers import Frame
from app_tier.taggers.adaptive import AdaptiveTagger
from core.domain.messages import Opinion
from core.errors import BadImage, DataInvalid
from core.imaging.decode import DecodeBudget, Decoder
from training.data.examples import Dataset, Example

_AT_ONCE = 32
_A_WRITE = 500
_DECODE_MB = 1000


@dataclass(frozen=True, slots=True)
class FitResult:
    """The number of learned photos per label, and why other photos were skipped: `PATH: reason`."""

    photos: Mapping[str, int]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Photo:
    id: str
    frame: Frame
    labels: frozenset[int]


def fit(tagger: AdaptiveTagger, dataset: Dataset, revision: int, done: Callable[[int], None]) -> FitResult:
    """Learn every photo of the dataset; `done` receives the number of photos read since its last call.

    A photo is identified by its content. A photo that was learned before with a lower `revision` gets its new labels,
    and a photo that occurs under several labels gets all of them. Learning starts once all photos are read.
    Raises DataInvalid if a label has no readable photo or there are too many labels, WeightsInvalid, Unavailable.
    """
    if len(dataset.labels) > MAX_TAGS:
        raise DataInvalid(
            f"{dataset.name} has {len(dataset.labels):,} labels, and `adaptive` keeps at most {MAX_TAGS:,}: remove "
            "labels, or train a model of your own with `tagfleet train`"
        )
    problems: list[str] = []
    labels: defaultdict[str, set[int]] = defaultdict(set)
    features: dict[str, Features] = {}
    for photos in _split_portions(_read(tagger, dataset.examples, problems, done)):
        for photo, found in zip(photos, tagger.features(np.stack([one.frame for one in photos])), strict=True):
            labels[photo.id] |= photo.labels
            features[photo.id] = found
    counts = {name: sum(number in own for own in labels.values()) for number, name in enumerate(dataset.labels)}
    if empty := [name for name, count in counts.items() if not count]:
        shown = ", ".join(map(repr, empty[:5])) + (", …" if empty[5:] else "")
        why = f" ({problems[0]})" if problems else ""
        raise DataInvalid(f"{dataset.name} has no readable photo of {shown}{why}: add photos, or remove the label")
    news = [
        ImageFeedback(
            id_, revision, tuple(Opinion(name=dataset.labels[n], wanted=True) for n in sorted(own)), features[id_]
        )
        for id_, own in labels.items()
        if own
    ]
    for first in range(0, len(news), _A_WRITE):
        tagger.learn_features(news[first : first + _A_WRITE])
    return FitResult(counts, tuple(problems))


def _read(
    tagger: AdaptiveTagger, examples: Sequence[Example], problems: list[str], done: Callable[[int], None]
) -> Iterator[_Photo]:
    decoder = Decoder(tagger.side, DecodeBudget(_DECODE_MB))
    for example in examples:
        done(1)
        try:
            data = example.path.read_bytes()
            frame = tagger.preprocess(decoder.show(data))
        except BadImage as error:
            problems.append(f"{example.path}: {error}")
        except OSError as error:
            problems.append(f"{example.path}: {error.strerror}")
        else:
            yield _Photo(f"fit_{hashlib.sha256(data).hexdigest()[:32]}", frame, example.labels)


def _split_portions(photos: Iterator[_Photo]) -> Iterator[list[_Photo]]:
    portion: list[_Photo] = []
    for photo in photos:
        portion.append(photo)
        if len(portion) == _AT_ONCE:
            yield portion
            portion = []
    if portion:
        yield portion
