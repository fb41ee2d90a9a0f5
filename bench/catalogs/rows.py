"""The rows of a planned catalogue, exactly as the web tier and the collector would have written them.

`tests/unit/bench/test_catalogs.py` compares them with rows that the product itself wrote.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from bench.catalogs.plan import PlannedBatch, PlannedImage
from core.domain.tag_names import tag_key
from web_tier.catalog.edits import TagDict, merge_tags

POOL = "resnet50"
TAGGER = "resnet50@imagenet1k"
ERROR = "this file is not an image"
PAYLOAD_HASH = hashlib.sha256(b"{}").hexdigest()
ALL = ""
"""The batch under which `tag_counts` has the counts of all batches."""

BATCHES = (
    *("id", "pool", "options", "metadata", "payload_hash", "created_at", "changed_at", "closed_at", "completed_at"),
    *("change", "total", "completed", "failed", "cancelled", "cancelled_at", "deleted_at", "cleared_at", "purged_at"),
    *("removed", "counted"),
)
IMAGES = (
    *("id", "batch_id", "position", "change", "name", "sha256", "bytes", "status", "provisional", "error", "tags"),
    *("timings", "tagger", "created_at", "finished_at", "edited", "said", "width", "height", "surest"),
)
TAGS = ("image_id", "key", "name", "confidence", "source", "batch_id", "position")
VERDICTS = ("edit_id", "image_id", "name", "wanted", "feedback", "created_at")
TAG_COUNTS = ("batch_id", "key", "name", "images")

_CANCELLED_AFTER_S = 60
_DELETED_AFTER_S = 3600
_key = cache(tag_key)

Row = tuple[Any, ...]


@dataclass(slots=True)
class Portion:
    """Rows of some images of one batch."""

    images: list[Row]
    tags: list[Row]
    verdicts: list[Row]


def cancelled_at(batch: PlannedBatch) -> float:
    return batch.recorded_at(batch.done) + _CANCELLED_AFTER_S


def deleted_at(batch: PlannedBatch) -> float:
    return batch.recorded_at(batch.done) + _DELETED_AFTER_S


def batch_row(batch: PlannedBatch) -> Row:
    """Return the row of a batch after all that is planned for it."""
    ended = batch.recorded_at(batch.done)
    change, completed = batch.total + 1 + batch.done + batch.edited, batch.done
    changed_at = ended
    completed_at = ended if batch.done == batch.total else None
    cancelled = cancelled_time = deleted_time = None
    if batch.kind == "cancelled":
        cancelled_time = changed_at = completed_at = cancelled_at(batch)
        cancelled, completed = batch.total - batch.done, batch.total
        change += 1 + cancelled + 1
    if batch.kind == "deleted":
        deleted_time = changed_at = deleted_at(batch)
    return (
        *(batch.id, POOL, "{}", "{}", PAYLOAD_HASH, batch.created_at, changed_at, batch.closed_at, completed_at),
        *(change, batch.total, completed, batch.failed, cancelled or 0, cancelled_time),
        *(deleted_time, deleted_time, deleted_time, batch.total if deleted_time else 0, change),
    )


class BatchRows:
    """Makes the rows of a batch's images, in portions, and counts their tags meanwhile."""

    def __init__(self, batch: PlannedBatch, images: Iterable[PlannedImage]) -> None:
        self._batch = batch
        self._images = images
        self._change = batch.total + 1
        self.counts: Counter[str] = Counter()
        """How many images have a tag, by its name. Every planned tag has one spelling."""

    def portions(self, size: int) -> Iterator[Portion]:
        """Yield the rows of `size` images at a time. A deleted batch has none left."""
        portion = Portion([], [], [])
        if self._batch.kind == "deleted":
            return
        for image in self._images:
            if image.position <= self._batch.done:
                self._add_result(portion, image)
            else:
                self._add_unfinished(portion, image)
            if len(portion.images) >= size:
                yield portion
                portion = Portion([], [], [])
        if portion.images:
            yield portion

    def count_rows(self) -> list[Row]:
        """Return the rows of `tag_counts` of this batch."""
        return [(self._batch.id, _key(name), name, images) for name, images in sorted(self.counts.items())]

    def _add_result(self, portion: Portion, image: PlannedImage) -> None:
        batch, at = self._batch, self._batch.recorded_at(image.position)
        failed = batch.has("failed", image.position)
        self._change += 1
        plain: list[TagDict] = [] if failed else image.said
        shown, said = plain, None
        if image.edit is not None:
            edit = image.edit
            self._change += 1
            shown, said = merge_tags(plain, {_key(edit.decision.name): edit.decision}), json.dumps(plain)
            portion.verdicts.append((edit.id, image.id, edit.decision.name, edit.decision.wanted, edit.feedback, at))
        end = ("failed", False, ERROR) if failed else ("succeeded", False, None)
        portion.images.append(
            (
                *(image.id, batch.id, image.position, self._change, image.name, image.sha256, image.bytes, *end),
                *(json.dumps(shown), image.timings, TAGGER, batch.accepted_at(image.position), at, shown != plain),
                *(said, *((None, None) if failed else image.size), surest(shown)),
            )
        )
        for tag in shown:
            name = tag["name"]
            portion.tags.append(
                (image.id, _key(name), name, tag["confidence"], tag["source"], batch.id, image.position)
            )
            self.counts[name] += 1

    def _add_unfinished(self, portion: Portion, image: PlannedImage) -> None:
        batch = self._batch
        status, change, finished = "queued", image.position, None
        if batch.kind == "cancelled":
            change = self._change + 1 + image.position - batch.done
            status, finished = "cancelled", cancelled_at(batch)
        portion.images.append(
            (
                *(image.id, batch.id, image.position, change, image.name, image.sha256, image.bytes),
                *(status, False, None, "[]", "null", None, batch.accepted_at(image.position), finished, False),
                *(None, None, None, None),
            )
        )


def surest(shown: Sequence[TagDict]) -> float | None:
    """Return the highest confidence of an image's tags, 1 for a person's."""
    sure = [1.0 if tag["source"] == "person" else tag["confidence"] for tag in shown]
    return max((one for one in sure if one is not None), default=None)
