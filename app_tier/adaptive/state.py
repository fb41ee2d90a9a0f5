"""The learned state: statistics, and the feedback that they contain. Pure.

The statistics always match the latest feedback on each image. Newer feedback replaces the applied one, older feedback
is ignored. So feedback may come twice, late and in any order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from app_tier.adaptive.bayes import CalibrationExample, Model
from app_tier.adaptive.statistics import Features, Statistics, Sums
from core.domain.messages import Opinion
from core.domain.tag_names import tag_key

SAMPLE = 200
"""Examples kept for calibration, those with the smallest hashes: so the order of their arrival does not matter."""
MAX_TAGS = 2_000
"""The most tags that are learned: with 1,280 features each costs every worker 41 kB of memory."""


@dataclass(frozen=True, slots=True)
class ImageFeedback:
    """People's present opinions about all tags of one image, with the image's features.

    Without features the statistics cannot change, so only a repetition of the applied opinions is accepted.
    """

    image_id: str
    revision: int
    """Grows with every change of opinion about this image."""
    opinions: tuple[Opinion, ...]
    features: Features | None = None


@dataclass(frozen=True, slots=True)
class AppliedFeedback:
    """The feedback on an image that the statistics contain, without opinions about tags beyond MAX_TAGS."""

    revision: int
    opinions: tuple[Opinion, ...]


@dataclass(frozen=True)
class LearnedState:
    """Everything learned over one backbone.

    `version` counts how often it was written; `images` holds the applied feedback by image id; `sample` holds features
    by image id and tag key.
    """

    statistics: Statistics
    version: int = 0
    images: Mapping[str, AppliedFeedback] = field(default_factory=dict)
    sample: Mapping[tuple[str, str], Features] = field(default_factory=dict)

    @classmethod
    def empty(cls, dimensions: int) -> Self:
        """Return a state with nothing learned."""
        return cls(Statistics.empty(dimensions))

    def contains(self, feedback: ImageFeedback) -> bool:
        """Return whether this feedback, or later feedback on the same image, is applied already."""
        return _contains(self.images, feedback)

    def with_feedback(self, items: Sequence[ImageFeedback], seen: Sums | None = None) -> LearnedState:
        """Return the state after applying the new feedback in `items`, and adding `seen`, photos without feedback."""
        statistics = self.statistics if seen is None else self.statistics.with_seen(seen)
        images, sample = dict(self.images), dict(self.sample)
        for item in items:
            applied = images.get(item.image_id)
            before = applied.opinions if applied else ()
            if _contains(images, item) or (item.features is None and item.opinions != before):
                continue
            if item.features is None:
                images[item.image_id] = AppliedFeedback(item.revision, before)
                continue
            known_tags = statistics.tags.keys()
            for opinion in before:
                statistics = statistics.subtract(opinion.name, item.features, wanted=opinion.wanted)
                sample.pop((item.image_id, tag_key(opinion.name)), None)
            accepted = _with_room(item.opinions, known_tags, statistics.tags.keys())
            images[item.image_id] = AppliedFeedback(item.revision, accepted)
            for opinion in accepted:
                statistics = statistics.add(opinion.name, item.features, wanted=opinion.wanted)
                if opinion.wanted:
                    sample[item.image_id, tag_key(opinion.name)] = item.features
        kept = sorted(sample, key=_rank)[:SAMPLE]
        return replace(self, statistics=statistics, images=images, sample={which: sample[which] for which in kept})

    def tags_left_out(self, items: Sequence[ImageFeedback]) -> set[str]:
        """Return the names of tags in these items that were not learned, because MAX_TAGS others exist."""
        return {
            opinion.name
            for item in items
            if (applied := self.images.get(item.image_id)) and applied.revision == item.revision
            for opinion in item.opinions
            if opinion not in applied.opinions
        }

    def model(self) -> Model:
        """Return the classifier over these statistics."""
        return Model(self.statistics, [CalibrationExample(key, found) for (_, key), found in self.sample.items()])


def _contains(images: Mapping[str, AppliedFeedback], feedback: ImageFeedback) -> bool:
    applied = images.get(feedback.image_id)
    return applied is not None and applied.revision >= feedback.revision


def _with_room(opinions: Sequence[Opinion], known: Collection[str], others: Collection[str]) -> tuple[Opinion, ...]:
    """Return the opinions about `known` tags, and as many about new tags as fit beside the `others`."""
    keys = {*others, *(tag_key(opinion.name) for opinion in opinions if tag_key(opinion.name) in known)}
    accepted = []
    for opinion in opinions:
        key = tag_key(opinion.name)
        if key in keys or len(keys) < MAX_TAGS:
            keys.add(key)
            accepted.append(opinion)
    return tuple(accepted)


def _rank(which: tuple[str, str]) -> bytes:
    return hashlib.sha256("\0".join(which).encode()).digest()
