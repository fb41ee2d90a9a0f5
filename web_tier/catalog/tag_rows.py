"""Read and write the rows of `tags` and `verdicts` for the other catalogue queries, and filter images by tag."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, and_, delete, exists, or_, select, true

from config.labels.hierarchy import below
from web_tier.catalog import tag_counts
from web_tier.catalog.edits import TagDecision, TagDict, latest_decisions, merge_tags, tag_key
from web_tier.catalog.many_rows import insert_many, is_any_of
from web_tier.catalog.tables import images, tags, verdicts

_KEPT = 200
"""Characters of a name that can be searched for: the length of an index entry is limited."""

_LAST = "\U0010ffff"

_DECISIONS = (
    select(verdicts.c.image_id, verdicts.c.name, verdicts.c.wanted)
    .where(is_any_of(verdicts.c.image_id, "ids"), verdicts.c.undone_at.is_(None))
    .order_by(verdicts.c.id)
)
_DELETE_ROWS = delete(tags).where(is_any_of(tags.c.image_id, "ids")).returning(tags.c.batch_id, tags.c.key, tags.c.name)
_INSERT_ROWS = insert_many(tags, "image_id", "key", "name", "confidence", "source", "batch_id", "position")


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

    @property
    def names_a_tag(self) -> bool:
        """Whether it asks for certain tags and not only for a minimal confidence."""
        return self.name is not None or self.prefix is not None

    def keys(self) -> list[str] | None:
        """Return the keys that the name stands for, as far as they begin with the prefix; None without a name."""
        if self.name is None:
            return None
        keys = {tag_key(name)[:_KEPT] for name in (self.name, *below(self.name))}
        low, high = prefix_range(self.prefix or "")
        return sorted(key for key in keys if low <= key < high)

    def condition(self) -> ColumnElement[bool]:
        """Match rows of `tags`. Only for a filter that is true."""
        keys = self.keys()
        asked: list[ColumnElement[bool]] = []
        if keys is not None:
            asked.append(tags.c.key == keys[0] if len(keys) == 1 else tags.c.key.in_(keys))
        elif self.prefix is not None:
            asked.append(begins_with(self.prefix))
        return and_(true(), *asked, *self.sure_enough())

    def sure_enough(self) -> Sequence[ColumnElement[bool]]:
        """Match rows of `tags` that have the minimal confidence, if there is one."""
        if self.min_confidence is None:
            return ()
        return (or_(tags.c.source == "person", tags.c.confidence >= self.min_confidence),)

    def image_condition(self) -> ColumnElement[bool]:
        """Match rows of `images` that have such a tag."""
        return exists().where(tags.c.image_id == images.c.id, self.condition())


def begins_with(prefix: str) -> ColumnElement[bool]:
    """Match rows of `tags` whose name begins with `prefix`, in upper or lower case."""
    low, high = prefix_range(prefix)
    return and_(tags.c.key >= low, tags.c.key < high)


def prefix_range(prefix: str) -> tuple[str, str]:
    """Return the first key that begins with `prefix`, and a key beyond the last."""
    key = tag_key(prefix)[:_KEPT]
    return key, key + _LAST


def has_unplaced(connection: Connection) -> bool:
    """Return whether rows of `tags` lack their place, so that queries by the place would miss some.

    The order makes PostgreSQL use the index of these rows: from outdated statistics it may expect many of them.
    """
    return connection.execute(_UNPLACED).one_or_none() is not None


_UNPLACED = select(tags.c.image_id).where(tags.c.batch_id.is_(None)).order_by(tags.c.image_id).limit(1)


@dataclass(frozen=True, slots=True)
class ShownTags:
    """Columns of an image: the tags to show, the tagger's own if there are decisions, and whether the two differ."""

    tags: list[TagDict]
    said: list[TagDict] | None
    edited: bool
    surest: float | None


SHOWN_TAGS = ("tags", "said", "edited", "surest")
"""The columns that `ShownTags` holds."""


@dataclass(frozen=True, slots=True)
class ToShow:
    """An image whose tags are written: where it is, and what the tagger says."""

    batch_id: str
    position: int
    said: Sequence[TagDict]


def write_shown_tags(connection: Connection, images_by_id: Mapping[str, ToShow]) -> dict[str, ShownTags]:
    """Merge the model's tags with people's decisions, and rewrite and count the `tags` rows. By image id.

    The caller has locked the batches of the images, and writes the returned columns. Called once in a transaction, as
    `tag_counts` demands.
    """
    decisions = read_decisions(connection, images_by_id)
    shown: dict[str, ShownTags] = {}
    for image_id, image in images_by_id.items():
        own = image.said
        plain = merge_tags(own, {})
        of_image = decisions.get(image_id)
        merged = plain if of_image is None else merge_tags(own, of_image)
        said = None if of_image is None else plain
        shown[image_id] = ShownTags(merged, said, merged != plain, compute_surest(merged))
    _write_rows(connection, images_by_id, shown)
    return shown


def compute_surest(shown: Sequence[TagDict]) -> float | None:
    """Return the highest confidence; a person's tag has the highest that there is."""
    sure = (1.0 if tag["source"] == "person" else tag["confidence"] for tag in shown)
    return max((confidence for confidence in sure if confidence is not None), default=None)


def read_decisions(connection: Connection, image_ids: Collection[str]) -> dict[str, dict[str, TagDecision]]:
    """Return the decisions in effect, by image id and tag key, in the order in which they were made."""
    decisions: dict[str, list[TagDecision]] = defaultdict(list)
    for image_id, name, wanted in connection.execute(_DECISIONS, {"ids": list(image_ids)}):
        decisions[image_id].append(TagDecision(name, wanted))
    return {image_id: latest_decisions(of_image) for image_id, of_image in decisions.items()}


def _write_rows(connection: Connection, places: Mapping[str, ToShow], shown: Mapping[str, ShownTags]) -> None:
    counts = tag_counts.Changes()
    for batch_id, key, name in connection.execute(_DELETE_ROWS, {"ids": list(shown)}):
        if batch_id is not None:
            counts.add(batch_id, key, name, -1)
    rows = {
        (image_id, key): {
            "image_id": image_id,
            "key": key,
            "name": tag["name"][:_KEPT],
            "confidence": tag["confidence"],
            "source": tag["source"],
            "batch_id": places[image_id].batch_id,
            "position": places[image_id].position,
        }
        for image_id, columns in shown.items()
        for tag in reversed(columns.tags)  # if shortening makes two keys equal, the first tag wins
        for key in (tag_key(tag["name"])[:_KEPT],)
    }
    if rows:
        _INSERT_ROWS.execute(connection, list(rows.values()))
    for row in rows.values():
        counts.add(row["batch_id"], row["key"], row["name"], +1)
    counts.write(connection)
