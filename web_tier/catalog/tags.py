"""Catalogue queries for editing tags and for searching by them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, insert, select, update

from core.errors import TagfleetError
from web_tier.catalog import changes
from web_tier.catalog.batches import Image, KeyReused, read_batch, select_images
from web_tier.catalog.database import Database
from web_tier.catalog.edits import TagDecision, tag_key
from web_tier.catalog.search import search
from web_tier.catalog.tables import images, verdicts
from web_tier.catalog.tag_list import TagCount, list_tags
from web_tier.catalog.tag_rows import SHOWN_TAGS, TagFilter, ToShow, write_shown_tags
from web_tier.catalog.visibility import belongs_to, not_deleted

_NAMED = 3
_IMAGES_AT_ONCE = 100
_DECISIONS_AT_ONCE = 400
"""Limits of one transaction, which then takes less than 0.1 s."""
_JUDGES = ("accept", "reject")


class NoSuchImage(TagfleetError):
    """The catalogue, or the given batch, has no such image."""


class NoSuchEdit(TagfleetError):
    """No edit of this id ever touched these images."""


class NotTagged(TagfleetError):
    """Feedback accepts or rejects a tag that the image does not have."""


@dataclass(frozen=True, slots=True)
class Edit:
    """The same decisions about the tags of some images, undone together by the id."""

    id: str
    decisions: Sequence[TagDecision]
    feedback: str | None = None
    """accept, reject or add, if the edit was given as feedback."""


class TagCatalog:
    """Edits tags and finds images by them. Every method may raise Unavailable; times are Unix seconds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def edit(self, batch_id: str, image_ids: Sequence[str], edit: Edit, now: float) -> list[Image]:
        """Apply an edit and return the images, each with a new change number. A repeated edit changes nothing.

        An edit that is too large for one short transaction is applied in groups of images. If that is interrupted, the
        same edit continues it. Raises NoSuchBatch, NoSuchImage, NotTagged; KeyReused if another edit has this id.
        """
        groups = _groups(_in_order(image_ids, edit), len(edit.decisions))
        alone = len(groups) == 1
        if not alone:
            with self._database.reading() as connection:
                _check_images(connection, batch_id, image_ids)
                groups = groups[_count_applied(connection, edit, groups) :]
        for group in groups:
            with self._database.writing() as connection:
                _lock(connection, batch_id, group)
                if not _count_applied(connection, edit, [group], alone=alone):
                    _apply(connection, batch_id, group, edit, now)
        with self._database.reading() as connection:
            return _images(connection, batch_id, image_ids)

    def undo(self, batch_id: str, edit_id: str, now: float, image_id: str | None = None) -> list[Image]:
        """Undo an edit on one image, or on all images of the batch that it touched; return these images.

        Earlier and later edits stay. To undo again changes nothing. Raises NoSuchBatch, NoSuchEdit.
        """
        touched = select(verdicts.c.image_id, func.count().label("names")).group_by(verdicts.c.image_id)
        touched = touched.join(images, images.c.id == verdicts.c.image_id)
        touched = touched.where(verdicts.c.edit_id == edit_id, belongs_to(batch_id))
        if image_id is not None:
            touched = touched.where(verdicts.c.image_id == image_id)
        with self._database.reading() as connection:
            read_batch(connection, batch_id)
            found: dict[str, int] = {
                row.image_id: row.names for row in connection.execute(touched.order_by(verdicts.c.image_id))
            }
        if not found:
            where = "batch" if image_id is None else "image"
            raise NoSuchEdit(f"this {where} has no edit {edit_id[:80]!r}")
        for group in _groups(list(found), max(found.values())):
            with self._database.writing() as connection:
                _lock(connection, batch_id, group)
                _undo(connection, batch_id, group, edit_id, now)
        with self._database.reading() as connection:
            return _images(connection, batch_id, list(found))

    def tags(self, prefix: str, limit: int, batch_id: str | None = None) -> list[TagCount]:
        """Return the tags that begin with `prefix`, in upper or lower case, and their counts; most frequent first.

        Of one batch or of all. Raises NoSuchBatch.
        """
        with self._database.reading() as connection:
            return list_tags(connection, prefix, limit, batch_id)

    def search(self, wanted: TagFilter, limit: int, before: str | None = None) -> list[Image]:
        """Return matching images of all batches, newest first, starting after the image `before`."""
        with self._database.reading() as connection:
            return search(connection, wanted, limit, before)


def _in_order(image_ids: Sequence[str], edit: Edit) -> list[str]:
    """Sort the images by a hash of the whole edit, so that a half-applied edit is recognised and continued."""
    every = sorted(set(image_ids))
    asked = [[one.name, one.wanted] for one in edit.decisions]
    whole = hashlib.sha256(json.dumps([every, asked, edit.feedback]).encode()).digest()
    return sorted(every, key=lambda image_id: hashlib.sha256(whole + image_id.encode()).digest())


def _groups(image_ids: Sequence[str], decisions_each: int) -> list[Sequence[str]]:
    """Split the images into groups of one short transaction each; the same images give the same groups."""
    size = max(1, min(_IMAGES_AT_ONCE, _DECISIONS_AT_ONCE // max(decisions_each, 1)))
    return [image_ids[start : start + size] for start in range(0, len(image_ids), size)]


def _lock(connection: Connection, batch_id: str, image_ids: Sequence[str]) -> None:
    """Keep others from changing the batch's images until the transaction ends.

    Raises NoSuchBatch, and NoSuchImage unless the batch has all of these images.
    """
    read_batch(connection, batch_id, lock=True)
    _check_images(connection, batch_id, image_ids)


def _check_images(connection: Connection, batch_id: str, image_ids: Sequence[str]) -> None:
    """Raise NoSuchBatch, or NoSuchImage unless the batch has all of these images."""
    read_batch(connection, batch_id)
    there = select(images.c.id).where(images.c.id.in_(image_ids), belongs_to(batch_id))
    missing = set(image_ids) - set(connection.execute(there).scalars())
    if missing:
        named = ", ".join(repr(id_[:80]) for id_ in sorted(missing)[:_NAMED])
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise NoSuchImage(f"batch {batch_id} has no image {named}{more}")


def _count_applied(connection: Connection, edit: Edit, groups: Sequence[Sequence[str]], *, alone: bool = True) -> int:
    """Return how many of the groups, from the first on, have this edit. Raises KeyReused if its id is another edit's.

    `alone` says that the edit touches no images beyond these groups.
    """
    query = select(verdicts.c.image_id, verdicts.c.name, verdicts.c.wanted, verdicts.c.feedback)
    query = query.join(images, images.c.id == verdicts.c.image_id).where(verdicts.c.edit_id == edit.id, not_deleted())
    if not alone:
        query = query.where(verdicts.c.image_id.in_([image_id for group in groups for image_id in group]))
    there = {tuple(row) for row in connection.execute(query)}
    own: set[tuple[object, ...]] = set()
    for applied in range(len(groups) + 1):
        if there == own:
            return applied
        for image_id in groups[applied] if applied < len(groups) else ():
            own |= {(image_id, one.name, one.wanted, edit.feedback) for one in edit.decisions}
    raise KeyReused("this Idempotency-Key came with another edit before; use a new key")


def _apply(connection: Connection, batch_id: str, image_ids: Sequence[str], edit: Edit, now: float) -> None:
    """Insert the edit and update the images. The batch is locked. Raises NotTagged."""
    if edit.feedback in _JUDGES:
        _check_tagged(connection, edit, image_ids)
    rows = [
        {
            "edit_id": edit.id,
            "image_id": image_id,
            "name": one.name,
            "wanted": one.wanted,
            "feedback": edit.feedback,
            "created_at": now,
        }
        for image_id in image_ids
        for one in edit.decisions
    ]
    connection.execute(insert(verdicts), rows)
    _update_images(connection, batch_id, image_ids, now)


def _undo(connection: Connection, batch_id: str, image_ids: Sequence[str], edit_id: str, now: float) -> None:
    """Mark the edit as undone and update the images. The batch is locked."""
    undone = connection.execute(
        update(verdicts)
        .where(verdicts.c.edit_id == edit_id, verdicts.c.image_id.in_(image_ids), verdicts.c.undone_at.is_(None))
        .values(undone_at=now)
        .returning(verdicts.c.image_id)
    )
    if changed := sorted(set(undone.scalars())):
        _update_images(connection, batch_id, changed, now)


def _check_tagged(connection: Connection, edit: Edit, image_ids: Sequence[str]) -> None:
    """Raise NotTagged unless the images have the tags of the edit."""
    for name, shown in connection.execute(select(images.c.name, images.c.tags).where(images.c.id.in_(image_ids))):
        there = {tag_key(tag["name"]) for tag in shown}
        for one in edit.decisions:
            if tag_key(one.name) not in there:
                raise NotTagged(f"{name[:80]} has no tag {one.name!r} to {edit.feedback}; add is for what is missing")


_UPDATE_IMAGE = changes.image_update(*SHOWN_TAGS, "feedback")


def _update_images(connection: Connection, batch_id: str, image_ids: Sequence[str], now: float) -> None:
    """Recompute the tags of these images from the tagger's tags and the decisions in effect."""
    found = connection.execute(
        select(images.c.id, images.c.position, images.c.tags, images.c.said)
        .where(images.c.id.in_(image_ids))
        .order_by(images.c.id)
    ).all()
    numbers = changes.advance(connection, batch_id, now, by=len(found))
    shown = write_shown_tags(
        connection,
        {row.id: ToShow(batch_id, row.position, row.tags if row.said is None else row.said) for row in found},
    )
    rows = [
        changes.image_values(
            row.id,
            number,
            **{name: getattr(shown[row.id], name) for name in SHOWN_TAGS},
            feedback=number,
        )
        for number, row in zip(numbers, found, strict=True)
    ]
    _UPDATE_IMAGE.execute(connection, rows)


def _images(connection: Connection, batch_id: str, image_ids: Sequence[str]) -> list[Image]:
    """Return the images in this order. Raises NoSuchBatch if the batch was deleted meanwhile."""
    read_batch(connection, batch_id)
    found = {row.id: Image(*row) for row in connection.execute(select_images().where(images.c.id.in_(image_ids)))}
    return [found[image_id] for image_id in image_ids]
