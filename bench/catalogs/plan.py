"""Plan a catalogue that looks like one of a service in use: a few large batches, many small ones, tags by Zipf's law.

Nothing here touches a database. A plan is a stream, so that one of ten million images needs no more memory than one of
ten thousand.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

from config import labels
from core.domain.ids import new_id
from web_tier.catalog.edits import TagDecision, TagDict

LARGEST = 300_000
"""Images of the largest batch of a plan of a million images or more."""

OWN_TAG = "Our Dog"
"""A person's tag on a few images of the largest batch, as many whatever the catalogue's size."""

Kind = Literal["done", "in_progress", "cancelled", "deleted"]

_MEDIUM, _SMALL = 10_000, 100
_OF_LARGEST, _OF_MEDIUM, _OF_SMALL = 0.3, 0.4, 0.25
"""Shares of all images that are in the largest batch, in medium and in small ones; the rest are alone in theirs."""
_SPECIAL_EVERY = 50
_GROUP = 20
_GROUP_S = 0.1
_RESULT_S = 0.001
_CYCLE = 200
_OWN = 5
_FAILED_AT = (0, 70, 140)
_EDITED_AT = (100,)
_MIN_TAGS, _MAX_TAGS = 3, 5
_SIZES = ((1600, 1200), (1200, 1600), (4000, 3000), (640, 480), (2048, 1536))


@dataclass(frozen=True, slots=True)
class PlannedBatch:
    """A batch, and the times of what happened to it. Half of the images of an unfinished one have a result.

    `number` is unique, and shifts which of its images failed and which people edited.
    """

    id: str
    number: int
    total: int
    kind: Kind
    created_at: float

    @property
    def closed_at(self) -> float:
        return self.accepted_at(self.total) + 1

    @property
    def done(self) -> int:
        """How many images, from the first one, have a result."""
        return self.total // 2 if self.kind in ("in_progress", "cancelled") else self.total

    @property
    def failed(self) -> int:
        return self._count(_FAILED_AT)

    @property
    def edited(self) -> int:
        return self._count(_EDITED_AT)

    def accepted_at(self, position: int) -> float:
        """Return when the image at a position, counted from 1, was uploaded. Images come in groups."""
        return self.created_at + (position - 1) // _GROUP * _GROUP_S

    def recorded_at(self, position: int) -> float:
        """Return when the image's result was recorded, and the image edited."""
        return self.closed_at + position * _RESULT_S

    def has(self, what: Literal["failed", "edited"], position: int) -> bool:
        """Return whether the image with a result at this position failed, or was edited."""
        return (self.number + position) % _CYCLE in (_FAILED_AT if what == "failed" else _EDITED_AT)

    def _count(self, residues: tuple[int, ...]) -> int:
        first, last = self.number, self.number + self.done
        return sum((last - at) // _CYCLE - (first - at) // _CYCLE for at in residues)


@dataclass(frozen=True, slots=True)
class PlannedEdit:
    """A person's decision about one tag of an image."""

    id: str
    decision: TagDecision
    feedback: str


@dataclass(frozen=True, slots=True)
class PlannedImage:
    """An image, and what its tagger says of it. `timings` is JSON."""

    id: str
    position: int
    name: str
    sha256: str
    bytes: int
    said: list[TagDict]
    timings: str
    size: tuple[int, int]
    edit: PlannedEdit | None


Plan = Iterator[tuple[PlannedBatch, Iterable[PlannedImage]]]


def plan_batches(images: int, now: float, seed: int = 0) -> Iterator[PlannedBatch]:
    """Yield the batches of a catalogue of `images` images in the order of their creation, the last one just before now.

    Deleted batches come on top. One cycle of the batches' numbers is skipped, so that no number is zero.
    """
    order = random.Random(seed)
    medium, small = (min(size, max(1, images // 100)) for size in (_MEDIUM, _SMALL))
    sizes = _sizes(images, medium, small)
    order.shuffle(sizes)
    kinds = _with_kinds(sizes, small)
    at = now - sum(_lasts(total) for total, _ in kinds)
    for number, (total, kind) in enumerate(kinds, start=_CYCLE):
        yield PlannedBatch(new_id("bat", at), number, total, kind, at)
        at += _lasts(total)


def plan_catalogue(images: int, now: float, seed: int = 0) -> Plan:
    """Yield the batches of `plan_batches`, each with its images by their positions."""
    maker = _ImageMaker(seed, largest(images))
    for batch in plan_batches(images, now, seed):
        yield batch, maker.images(batch)


def largest(images: int) -> int:
    """Return the size of the largest batch of a plan of `images` images."""
    return max(1, min(LARGEST, int(_OF_LARGEST * images)))


class _ImageMaker:
    """Makes the images of batches. The same seed gives the same tags; ids and hashes are new each time."""

    def __init__(self, seed: int, size_of_largest: int) -> None:
        self._random = random.Random(seed)
        self.labels = list(labels.load("imagenet1k"))
        self._random.shuffle(self.labels)
        self._weights = list(accumulate(1 / rank for rank in range(1, len(self.labels) + 1)))
        self._timings = [_timings(self._random) for _ in range(100)]
        self._size_of_largest = size_of_largest
        self._made = self._own = 0
        self._salt = new_id("salt")

    def images(self, batch: PlannedBatch) -> Iterator[PlannedImage]:
        for position in range(1, batch.total + 1):
            yield self._image(batch, position)

    def _image(self, batch: PlannedBatch, position: int) -> PlannedImage:
        self._made += 1
        said = self._tags()
        edited = position <= batch.done and batch.has("edited", position)
        return PlannedImage(
            id=new_id("img", batch.accepted_at(position)),
            position=position,
            name=f"IMG_{batch.number % 10_000:04}_{position:06}.jpg",
            sha256=hashlib.sha256(f"{self._salt}{self._made}".encode()).hexdigest(),
            bytes=self._random.randrange(40_000, 400_000),
            said=said,
            timings=self._timings[self._made % len(self._timings)],
            size=_SIZES[self._made % len(_SIZES)],
            edit=self._edit(batch, position, said) if edited else None,
        )

    def _tags(self) -> list[TagDict]:
        count = self._random.randint(_MIN_TAGS, _MAX_TAGS)
        chosen: dict[str, None] = {}
        while len(chosen) < count:
            drawn = self._random.choices(self.labels, cum_weights=self._weights, k=count)
            chosen.update(dict.fromkeys(drawn[: count - len(chosen)]))
        confidence = self._random.uniform(0.3, 1.0)
        tags: list[TagDict] = []
        for name in chosen:
            tags.append({"name": name, "confidence": round(confidence, 4), "source": "model", "instances": []})
            confidence *= self._random.uniform(0.2, 0.9)
        return tags

    def _edit(self, batch: PlannedBatch, position: int, said: list[TagDict]) -> PlannedEdit:
        edit_id = new_id("edt", batch.recorded_at(position))
        if batch.total == self._size_of_largest and self._own < _OWN:
            self._own += 1
            return PlannedEdit(edit_id, TagDecision(OWN_TAG, wanted=True), "add")
        if self._made % 2:
            return PlannedEdit(edit_id, TagDecision(said[-1]["name"], wanted=False), "reject")
        (name,) = self._random.choices(self.labels, cum_weights=self._weights)
        return PlannedEdit(edit_id, TagDecision(name, wanted=True), "add")


def _sizes(images: int, medium: int, small: int) -> list[int]:
    """Return the sizes of the batches, which add up to `images`."""
    sizes = [medium] * (int(_OF_MEDIUM * images) // medium) + [small] * (int(_OF_SMALL * images) // small)
    return [*sizes, *[1] * (images - largest(images) - sum(sizes)), largest(images)]


def _with_kinds(sizes: list[int], small: int) -> list[tuple[int, Kind]]:
    """Return the batches with what happened to them: the newest two are being tagged, the others are done but some."""
    planned: list[tuple[int, Kind]] = []
    seen = 0
    for size in sizes:
        seen += size == small
        cancelled = size == small and seen % _SPECIAL_EVERY == 0
        if size == small and seen % _SPECIAL_EVERY == 1:
            planned.append((size, "deleted"))
        planned.append((size, "cancelled" if cancelled else "done"))
    for _ in range(2):
        index = next((at for at, one in enumerate(planned) if one == (small, "done")), None)
        if index is not None:
            planned.pop(index)
            planned.append((small, "in_progress"))
    return planned


def _lasts(total: int) -> float:
    """Return the seconds from the start of a batch to the start of the next."""
    return 60 + total * (_GROUP_S / _GROUP + _RESULT_S)


def _timings(of: random.Random) -> str:
    stages = {"queue": 2000.0, "fetch": 2.0, "decode": 8.0, "infer": 30.0}
    return json.dumps({stage: round(of.uniform(0.2, 2) * ms, 3) for stage, ms in stages.items()})
