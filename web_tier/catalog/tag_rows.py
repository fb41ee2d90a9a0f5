"""Statements over tags and verdicts that several parts of the catalogue make."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, and_, delete, exists, insert, or_, select

from config.labels.hierarchy import below
from web_tier.catalog.edits import TagDict, Verdict, merged, standing, tag_key
from web_tier.catalog.tables import images, tags, verdicts

_KEPT = 200
"""Characters of a name that are looked for: an index holds no entries of any length."""

_LAST = "\U0010ffff"


@dataclass(frozen=True, slots=True)
class Tagged:
    """Asks for images by a tag: of this name or below it, or one that begins so, and with this confidence at least.

    What is below a name WordNet says: who looks for a dog finds a Beagle.

    A person's tag is sure enough for any confidence; a tag for which the tagger gave none is for none.
    """

    name: str | None = None
    prefix: str | None = None
    min_confidence: float | None = None

    def __bool__(self) -> bool:
        return (self.name, self.prefix, self.min_confidence) != (None, None, None)

    def condition(self) -> ColumnElement[bool]:
        """Of one row of `tags`; only for one that asks for something."""
        asked: list[ColumnElement[bool]] = []
        if self.name is not None:
            keys = sorted(tag_key(name)[:_KEPT] for name in (self.name, *below(self.name)))
            asked.append(tags.c.key.in_(keys) if len(keys) > 1 else tags.c.key == keys[0])
        if self.prefix is not None:
            asked.append(begins(self.prefix))
        if self.min_confidence is not None:
            asked.append(or_(tags.c.source == "person", tags.c.confidence >= self.min_confidence))
        return and_(*asked)

    def of_image(self) -> ColumnElement[bool]:
        """The same of one row of `images`."""
        return exists().where(tags.c.image_id == images.c.id, self.condition())


def begins(prefix: str) -> ColumnElement[bool]:
    """Rows of `tags` whose name begins with `prefix`, in any case."""
    key = tag_key(prefix)[:_KEPT]
    return and_(tags.c.key >= key, tags.c.key < key + _LAST)


@dataclass(frozen=True, slots=True)
class Shown:
    """Columns of an image: its tags to show, the tagger's own where verdicts stand over them, whether they differ."""

    tags: list[TagDict]
    said: list[TagDict] | None
    edited: bool


def show(connection: Connection, said: Mapping[str, Sequence[TagDict]]) -> dict[str, Shown]:
    """What images show of what the tagger said of them, under the verdicts that stand; the rows of `tags` follow.

    Their batches are locked by the caller, who writes the columns.
    """
    given = standing_verdicts(connection, said)
    shown: dict[str, Shown] = {}
    for image_id, own in said.items():
        plain = merged(own, {})
        under = given.get(image_id)
        tags_shown = plain if under is None else merged(own, under)
        shown[image_id] = Shown(tags_shown, None if under is None else plain, tags_shown != plain)
    _write_tags(connection, {image_id: columns.tags for image_id, columns in shown.items()})
    return shown


def standing_verdicts(connection: Connection, image_ids: Collection[str]) -> dict[str, dict[str, Verdict]]:
    """By the key of their tag, in the order in which they were given; of the images that have some."""
    query = (
        select(verdicts.c.image_id, verdicts.c.name, verdicts.c.wanted)
        .where(verdicts.c.image_id.in_(image_ids), verdicts.c.undone_at.is_(None))
        .order_by(verdicts.c.id)
    )
    given: dict[str, list[Verdict]] = defaultdict(list)
    for image_id, name, wanted in connection.execute(query):
        given[image_id].append(Verdict(name, wanted))
    return {image_id: standing(of_image) for image_id, of_image in given.items()}


def _write_tags(connection: Connection, shown: Mapping[str, Sequence[TagDict]]) -> None:
    connection.execute(delete(tags).where(tags.c.image_id.in_(shown)))
    rows = {
        (image_id, key): {
            "image_id": image_id,
            "key": key,
            "name": tag["name"][:_KEPT],
            "confidence": tag["confidence"],
            "source": tag["source"],
        }
        for image_id, of_image in shown.items()
        for tag in reversed(of_image)  # where the cut makes two the same, the first counts
        for key in (tag_key(tag["name"])[:_KEPT],)
    }
    if rows:
        connection.execute(insert(tags), list(rows.values()))
