"""Read and write the rows of `tags` and `verdicts` for the other catalogue queries, and filter images by tag."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, and_, bindparam, delete, exists, insert, or_, select

from config.labels.hierarchy import below
from web_tier.catalog.edits import TagDecision, TagDict, latest_decisions, merge_tags, tag_key
from web_tier.catalog.tables import images, tags, verdicts

_KEPT = 200
"""Characters of a name that can be searched for: the length of an index entry is limited."""

_LAST = "\U0010ffff"

_DECISIONS = (
    select(verdicts.c.image_id, verdicts.c.name, verdicts.c.wanted)
    .where(verdicts.c.image_id.in_(bindparam("ids", expanding=True)), verdicts.c.undone_at.is_(None))
    .order_by(verdicts.c.id)
)
_DELETE_ROWS = delete(tags).where(tags.c.image_id.in_(bindparam("ids", expanding=True)))
_INSERT_ROWS = insert(tags)


@dataclass(frozen=True, slots=True)
class TagFilter:
    """Selects images by a tag: by its name, by a prefix, by a minimal confidence, or several of these.

    A name also matches the names below it in WordNet: a search for dog finds a Beagle. A person's tag meets any minimal
    confidence; a tag for which the tagger gave no confidence meets none.
    """

    name: str | None = None
    prefix: str | None = None
    min_confidence: float | None = None

    def __bool__(self) -> bool:
        return (self.name, self.prefix, self.min_confidence) != (None, None, None)

    def condition(self) -> ColumnElement[bool]:
        """Match rows of `tags`. Only for a filter that is true."""
        asked: list[ColumnElement[bool]] = []
        if self.name is not None:
            keys = sorted(tag_key(name)[:_KEPT] for name in (self.name, *below(self.name)))
            asked.append(tags.c.key.in_(keys) if len(keys) > 1 else tags.c.key == keys[0])
        if self.prefix is not None:
            asked.append(begins_with(self.prefix))
        if self.min_confidence is not None:
            asked.append(or_(tags.c.source == "person", tags.c.confidence >= self.min_confidence))
        return and_(*asked)

    def image_condition(self) -> ColumnElement[bool]:
        """Match rows of `images` that have such a tag."""
        return exists().where(tags.c.image_id == images.c.id, self.condition())


def begins_with(prefix: str) -> ColumnElement[bool]:
    """Match rows of `tags` whose name begins with `prefix`, in upper or lower case."""
    key = tag_key(prefix)[:_KEPT]
    return and_(tags.c.key >= key, tags.c.key < key + _LAST)


@dataclass(frozen=True, slots=True)
class ShownTags:
    """Columns of an image: the tags to show, the tagger's own if there are decisions, and whether the two differ."""

    tags: list[TagDict]
    said: list[TagDict] | None
    edited: bool


def write_shown_tags(connection: Connection, model_tags: Mapping[str, Sequence[TagDict]]) -> dict[str, ShownTags]:
    """Merge the model's tags with people's decisions and rewrite the `tags` rows. By image id.

    The caller has locked the batches of the images, and writes the returned columns.
    """
    decisions = read_decisions(connection, model_tags)
    shown: dict[str, ShownTags] = {}
    for image_id, own in model_tags.items():
        plain = merge_tags(own, {})
        of_image = decisions.get(image_id)
        merged = plain if of_image is None else merge_tags(own, of_image)
        shown[image_id] = ShownTags(merged, None if of_image is None else plain, merged != plain)
    _write_rows(connection, {image_id: columns.tags for image_id, columns in shown.items()})
    return shown


def read_decisions(connection: Connection, image_ids: Collection[str]) -> dict[str, dict[str, TagDecision]]:
    """Return the decisions in effect, by image id and tag key, in the order in which they were made."""
    decisions: dict[str, list[TagDecision]] = defaultdict(list)
    for image_id, name, wanted in connection.execute(_DECISIONS, {"ids": list(image_ids)}):
        decisions[image_id].append(TagDecision(name, wanted))
    return {image_id: latest_decisions(of_image) for image_id, of_image in decisions.items()}


def _write_rows(connection: Connection, shown: Mapping[str, Sequence[TagDict]]) -> None:
    connection.execute(_DELETE_ROWS, {"ids": list(shown)})
    rows = {
        (image_id, key): {
            "image_id": image_id,
            "key": key,
            "name": tag["name"][:_KEPT],
            "confidence": tag["confidence"],
            "source": tag["source"],
        }
        for image_id, of_image in shown.items()
        for tag in reversed(of_image)  # if shortening makes two keys equal, the first tag wins
        for key in (tag_key(tag["name"])[:_KEPT],)
    }
    if rows:
        connection.execute(_INSERT_ROWS, list(rows.values()))
