"""The catalogue as those use it who correct tags and search by them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, bindparam, exists, func, insert, select, update

from core.errors import TagfleetError
from web_tier.catalog.batches import Image, KeyReused, read_batch, shown_images
from web_tier.catalog.database import Database
from web_tier.catalog.edits import Verdict, tag_key
from web_tier.catalog.tables import batches, images, tags, verdicts
from web_tier.catalog.tag_rows import Tagged, begins, show
from web_tier.catalog.visibility import belongs_to, not_deleted

_NAMED = 3
_IMAGES_AT_ONCE = 100
_VERDICTS_AT_ONCE = 400
"""Of one transaction, which takes less than a tenth of a second then."""
_JUDGES = ("accept", "reject")


class NoSuchImage(TagfleetError):
    """The catalogue, or the batch that was named, has no such image."""


class NoSuchEdit(TagfleetError):
    """These images were never part of an edit of this id."""


class NotTagged(TagfleetError):
    """Feedback judges a tag that the image does not have."""


@dataclass(frozen=True, slots=True)
class Edit:
    """The same verdicts about some images; `feedback` says as what they were given, where it was as feedback."""

    id: str
    verdicts: Sequence[Verdict]
    feedback: str | None = None


@dataclass(frozen=True, slots=True)
class TagCount:
    name: str
    count: int


class TagCatalog:
    """Every method may raise Unavailable; times are Unix seconds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def edit(self, batch_id: str, image_ids: Sequence[str], edit: Edit, now: float) -> list[Image]:
        """The images as they are after it, each with a new change number; an edit that is there is not made again.

        One that is too large for one short transaction is made in groups of images; where that breaks off, the same
        edit made again goes on.

        Raises NoSuchBatch, NoSuchImage, NotTagged; KeyReused where another edit has its id.
        """
        groups = _groups(_in_order(image_ids, edit), len(edit.verdicts))
        alone = len(groups) == 1
        if not alone:
            with self._database.reading() as connection:
                _check_there(connection, batch_id, image_ids)
                groups = groups[_made(connection, edit, groups) :]
        for group in groups:
            with self._database.writing() as connection:
                _lock(connection, batch_id, group)
                if not _made(connection, edit, [group], alone=alone):
                    _make(connection, batch_id, group, edit, now)
        with self._database.reading() as connection:
            return _images(connection, batch_id, image_ids)

    def undo(self, batch_id: str, edit_id: str, now: float, image_id: str | None = None) -> list[Image]:
        """Take an edit back, from one image or from all of the batch that it touched: they are as if it had never been.

        Other edits stay, earlier and later ones. What is undone already stays so. Raises NoSuchBatch, NoSuchEdit.
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

    def tags(self, prefix: str, limit: int) -> list[TagCount]:
        """Tags that begin with `prefix`, in any case, and how many images have each: the most frequent first."""
        count = func.count()
        query = (
            select(func.max(tags.c.name), count).group_by(tags.c.key).order_by(count.desc(), tags.c.key).limit(limit)
        )
        if prefix:
            query = query.where(begins(prefix))
        with self._database.reading() as connection:
            if _removing(connection):
                query = query.where(_of_shown_image())
            return [TagCount(name, number) for name, number in connection.execute(query)]

    def search(self, wanted: Tagged, limit: int, before: str | None = None) -> list[Image]:
        """Images of all batches, the newest first, starting after the image `before`."""
        query = shown_images().order_by(images.c.id.desc()).limit(limit)
        with self._database.reading() as connection:
            if wanted:
                ids = select(tags.c.image_id).where(wanted.condition()).distinct()
                if before is not None:
                    ids = ids.where(tags.c.image_id < before)
                if _removing(connection):
                    ids = ids.where(_of_shown_image())
                query = query.where(images.c.id.in_(ids.order_by(tags.c.image_id.desc()).limit(limit)))
            elif before is not None:
                query = query.where(images.c.id < before)
            return [Image(*row) for row in connection.execute(query)]


def _removing(connection: Connection) -> bool:
    """Whether there are rows of deleted batches, which nobody may see; mostly there are none, and it costs nothing."""
    left = select(batches.c.id).where(
        batches.c.deleted_at.is_not(None), batches.c.purged_at.is_(None), batches.c.cleared_at.is_(None)
    )
    return connection.execute(left.limit(1)).one_or_none() is not None


def _of_shown_image() -> ColumnElement[bool]:
    """Rows of `tags` whose image is not one of a deleted batch."""
    return exists().where(images.c.id == tags.c.image_id, not_deleted()).correlate(tags)


def _in_order(image_ids: Sequence[str], edit: Edit) -> list[str]:
    """An order that belongs to exactly this edit of these images: a half made one is known by its beginning."""
    every = sorted(set(image_ids))
    asked = [[verdict.name, verdict.wanted] for verdict in edit.verdicts]
    whole = hashlib.sha256(json.dumps([every, asked, edit.feedback]).encode()).digest()
    return sorted(every, key=lambda image_id: hashlib.sha256(whole + image_id.encode()).digest())


def _groups(image_ids: Sequence[str], verdicts_each: int) -> list[Sequence[str]]:
    """Images of one transaction each: other writers wait for it. The same images always fall into the same groups."""
    size = max(1, min(_IMAGES_AT_ONCE, _VERDICTS_AT_ONCE // max(verdicts_each, 1)))
    return [image_ids[start : start + size] for start in range(0, len(image_ids), size)]


def _lock(connection: Connection, batch_id: str, image_ids: Sequence[str]) -> None:
    """Nobody else changes the batch's images until the transaction ends.

    Raises NoSuchBatch, and NoSuchImage unless it has them all.
    """
    read_batch(connection, batch_id, lock=True)
    _check_there(connection, batch_id, image_ids)


def _check_there(connection: Connection, batch_id: str, image_ids: Sequence[str]) -> None:
    """Raises NoSuchBatch, and NoSuchImage unless the batch has all of these images."""
    read_batch(connection, batch_id)
    there = select(images.c.id).where(images.c.id.in_(image_ids), belongs_to(batch_id))
    missing = set(image_ids) - set(connection.execute(there).scalars())
    if missing:
        named = ", ".join(repr(id_[:80]) for id_ in sorted(missing)[:_NAMED])
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise NoSuchImage(f"batch {batch_id} has no image {named}{more}")


def _made(connection: Connection, edit: Edit, groups: Sequence[Sequence[str]], *, alone: bool = True) -> int:
    """How many of the groups have this edit, from the first on. Raises KeyReused where it was another one.

    With `alone` these groups are all that the edit has.
    """
    query = select(verdicts.c.image_id, verdicts.c.name, verdicts.c.wanted, verdicts.c.feedback)
    query = query.join(images, images.c.id == verdicts.c.image_id).where(verdicts.c.edit_id == edit.id, not_deleted())
    if not alone:
        query = query.where(verdicts.c.image_id.in_([image_id for group in groups for image_id in group]))
    there = {tuple(row) for row in connection.execute(query)}
    own: set[tuple[object, ...]] = set()
    for made in range(len(groups) + 1):
        if there == own:
            return made
        for image_id in groups[made] if made < len(groups) else ():
            own |= {(image_id, verdict.name, verdict.wanted, edit.feedback) for verdict in edit.verdicts}
    raise KeyReused("this Idempotency-Key came with another edit before; use a new key")


def _make(connection: Connection, batch_id: str, image_ids: Sequence[str], edit: Edit, now: float) -> None:
    """The batch is locked. Raises NotTagged."""
    if edit.feedback in _JUDGES:
        _check_tagged(connection, edit, image_ids)
    rows = [
        {
            "edit_id": edit.id,
            "image_id": image_id,
            "name": verdict.name,
            "wanted": verdict.wanted,
            "feedback": edit.feedback,
            "created_at": now,
        }
        for image_id in image_ids
        for verdict in edit.verdicts
    ]
    connection.execute(insert(verdicts), rows)
    _settle(connection, batch_id, image_ids, now)


def _undo(connection: Connection, batch_id: str, image_ids: Sequence[str], edit_id: str, now: float) -> None:
    """The batch is locked."""
    undone = connection.execute(
        update(verdicts)
        .where(verdicts.c.edit_id == edit_id, verdicts.c.image_id.in_(image_ids), verdicts.c.undone_at.is_(None))
        .values(undone_at=now)
        .returning(verdicts.c.image_id)
    )
    if changed := sorted(set(undone.scalars())):
        _settle(connection, batch_id, changed, now)


def _check_tagged(connection: Connection, edit: Edit, image_ids: Sequence[str]) -> None:
    """Raises NotTagged unless the images have the tags of the edit."""
    for name, shown in connection.execute(select(images.c.name, images.c.tags).where(images.c.id.in_(image_ids))):
        there = {tag_key(tag["name"]) for tag in shown}
        for verdict in edit.verdicts:
            if tag_key(verdict.name) not in there:
                raise NotTagged(
                    f"{name[:80]} has no tag {verdict.name!r} to {edit.feedback}; add is for what is missing"
                )


_UPDATE_IMAGE = (
    update(images)
    .where(images.c.id == bindparam("image_id"))
    .values({images.c[name]: bindparam(f"new_{name}") for name in ("tags", "said", "edited", "change", "feedback")})
)


def _settle(connection: Connection, batch_id: str, image_ids: Sequence[str], now: float) -> None:
    """Make what these images show anew from what the tagger said and the verdicts that stand."""
    found = connection.execute(
        select(images.c.id, images.c.tags, images.c.said).where(images.c.id.in_(image_ids)).order_by(images.c.id)
    ).all()
    change = connection.execute(
        update(batches)
        .where(batches.c.id == batch_id)
        .values(change=batches.c.change + len(found), changed_at=now)
        .returning(batches.c.change)
    ).scalar_one()
    shown = show(connection, {row.id: row.tags if row.said is None else row.said for row in found})
    rows = [
        {
            "image_id": row.id,
            "new_tags": shown[row.id].tags,
            "new_said": shown[row.id].said,
            "new_edited": shown[row.id].edited,
            "new_change": number,
            "new_feedback": number,
        }
        for number, row in enumerate(found, start=change - len(found) + 1)
    ]
    connection.execute(_UPDATE_IMAGE, rows)


def _images(connection: Connection, batch_id: str, image_ids: Sequence[str]) -> list[Image]:
    """In the order in which they were asked for. Raises NoSuchBatch where it was deleted meanwhile."""
    read_batch(connection, batch_id)
    found = {row.id: Image(*row) for row in connection.execute(shown_images().where(images.c.id.in_(image_ids)))}
    return [found[image_id] for image_id in image_ids]
