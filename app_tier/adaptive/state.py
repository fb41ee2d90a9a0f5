"""What was learned from which images, so that news of one may come twice, late and in any order. Pure.

The statistics are always those of the opinions that stand: news of an image replaces what was known of it if it is
newer, and is passed over if it is not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from app_tier.adaptive.bayes import Example, Model
from app_tier.adaptive.statistics import Features, Statistics, Sums
from core.domain.messages import Opinion
from core.domain.tag_names import tag_key

SAMPLE = 200
"""Examples that are kept to calibrate by: those of the smallest hashes, whatever order they came in."""
MAX_TAGS = 2_000
"""No further ones are learned: each costs 41 kB of memory with 1,280 features, in every worker."""


@dataclass(frozen=True, slots=True)
class News:
    """All that people hold about an image's tags now. Without features it teaches nothing that is not in already."""

    image_id: str
    revision: int
    """Grows with every change of opinion about this image."""
    opinions: tuple[Opinion, ...]
    features: Features | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """What of an image is in the statistics; opinions of tags that were too many are not."""

    revision: int
    opinions: tuple[Opinion, ...]


@dataclass(frozen=True)
class State:
    """`version` counts how often it was written. `sample` holds features by image and by the key of a tag."""

    statistics: Statistics
    version: int = 0
    images: Mapping[str, Known] = field(default_factory=dict)
    sample: Mapping[tuple[str, str], Features] = field(default_factory=dict)

    @classmethod
    def none(cls, dimensions: int) -> Self:
        return cls(Statistics.none(dimensions))

    def knows(self, news: News) -> bool:
        """Whether it is no news: this, or something later, is in already."""
        return _knows(self.images, news)

    def taught(self, lessons: Sequence[News], seen: Sums | None = None) -> State:
        """With what is new of the lessons, and with `seen` photos of which nobody said anything."""
        statistics = self.statistics if seen is None else self.statistics.with_seen(seen)
        images, sample = dict(self.images), dict(self.sample)
        for news in lessons:
            known = images.get(news.image_id)
            held = known.opinions if known else ()
            if _knows(images, news) or (news.features is None and news.opinions != held):
                continue
            if news.features is None:
                images[news.image_id] = Known(news.revision, held)
                continue
            known_tags = statistics.tags.keys()
            for opinion in held:
                statistics = statistics.subtract(opinion.name, news.features, wanted=opinion.wanted)
                sample.pop((news.image_id, tag_key(opinion.name)), None)
            taken = _with_room(news.opinions, known_tags, statistics.tags.keys())
            images[news.image_id] = Known(news.revision, taken)
            for opinion in taken:
                statistics = statistics.add(opinion.name, news.features, wanted=opinion.wanted)
                if opinion.wanted:
                    sample[news.image_id, tag_key(opinion.name)] = news.features
        kept = sorted(sample, key=_rank)[:SAMPLE]
        return replace(self, statistics=statistics, images=images, sample={which: sample[which] for which in kept})

    def left_out(self, lessons: Sequence[News]) -> set[str]:
        """The names in these lessons for which there was no room."""
        return {
            opinion.name
            for news in lessons
            if (known := self.images.get(news.image_id)) and known.revision == news.revision
            for opinion in news.opinions
            if opinion not in known.opinions
        }

    def model(self) -> Model:
        return Model(self.statistics, [Example(key, found) for (_, key), found in self.sample.items()])


def _knows(images: Mapping[str, Known], news: News) -> bool:
    known = images.get(news.image_id)
    return known is not None and known.revision >= news.revision


def _with_room(opinions: Sequence[Opinion], known: Collection[str], others: Collection[str]) -> tuple[Opinion, ...]:
    """All of `known` tags, and of new ones as many as may be beside the `others`."""
    keys = {*others, *(tag_key(opinion.name) for opinion in opinions if tag_key(opinion.name) in known)}
    taken = []
    for opinion in opinions:
        key = tag_key(opinion.name)
        if key in keys or len(keys) < MAX_TAGS:
            keys.add(key)
            taken.append(opinion)
    return tuple(taken)


def _rank(which: tuple[str, str]) -> bytes:
    return hashlib.sha256("\0".join(which).encode()).digest()
