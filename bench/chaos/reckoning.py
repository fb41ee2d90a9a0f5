"""Account for every accepted photo: pure functions from ids and results to counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from core.domain.messages import Result
from tagfleet.client import Item

GAVE_UP = "gave up after"
"""In the error of an image whose job became a dead letter."""


@dataclass(frozen=True, slots=True)
class Reckoning:
    """Counts of images.

    A photo should be tagged or dead, a trap refused. None should be lost, doubled, or unlike its result. A trap that a
    decoder finishes in time may be tagged too.
    """

    accepted: int
    tagged: int
    refused: int
    """The result is an error: the image cannot be tagged."""
    dead: int
    lost: int
    """Neither a result nor a dead letter."""
    doubled: int
    """More than one result or dead letter, or one of each; or an item that was not uploaded."""
    unlike: int
    """The catalogue's item differs from the result in the bucket."""
    traps: int = 0
    """Accepted images that harm a decoder."""
    refused_photos: int = 0

    @property
    def sound(self) -> bool:
        """Whether every accepted photo has exactly one right end."""
        ended = self.tagged + self.refused + self.dead
        return not (self.lost or self.doubled or self.unlike or self.refused_photos) and ended == self.accepted

    def __str__(self) -> str:
        traps = f" ({self.traps} of them traps), tagged {self.tagged}, refused {self.refused}" if self.traps else ""
        counts = f"accepted {self.accepted}{traps or f', tagged {self.tagged}'}, dead {self.dead}, lost {self.lost}"
        return f"{counts}, doubled {self.doubled}, catalogue unlike bucket {self.unlike}"


@dataclass(frozen=True, slots=True)
class RunRow:
    """A row of a bucket run's Parquet files."""

    uri: str
    has_tags: bool
    error: str | None


@dataclass(frozen=True, slots=True)
class RunReckoning:
    """Counts of the photos in a tagged bucket. Each should be tagged or dead, in exactly one row."""

    photos: int
    tagged: int
    dead: int
    refused: int
    """The result is another error."""
    lost: int
    doubled: int
    """More than one row, or a row of no photo."""
    misplaced: int
    """Packed results whose image is not at the position that their pack names."""
    starts: int
    """How often the command ran."""

    @property
    def sound(self) -> bool:
        """Whether every photo has exactly one right end."""
        wrong = self.refused or self.lost or self.doubled or self.misplaced
        return not wrong and self.tagged + self.dead == self.photos

    def __str__(self) -> str:
        counts = f"{self.photos} photos, tagged {self.tagged}, dead {self.dead}, lost {self.lost}"
        return f"bucket of {counts}, doubled {self.doubled} in {self.starts} starts"


def reckon_run(uris: Sequence[str], rows: Sequence[RunRow], misplaced: int, starts: int) -> RunReckoning:
    """Count what became of the photos at these addresses."""
    found = Counter(row.uri for row in rows)
    own = {row.uri: row for row in rows if row.uri in set(uris)}
    dead = {uri for uri, row in own.items() if row.error and GAVE_UP in row.error}
    return RunReckoning(
        photos=len(uris),
        tagged=sum(row.has_tags and not row.error for row in own.values()),
        dead=len(dead),
        refused=sum(bool(row.error) for uri, row in own.items() if uri not in dead),
        lost=sum(not found[uri] for uri in uris),
        doubled=sum(count > 1 for count in found.values()) + len(found.keys() - set(uris)),
        misplaced=misplaced,
        starts=starts,
    )


def reckon(
    accepted: Collection[str],
    bucket: Mapping[str, Result],
    letters: Sequence[str],
    catalogue: Sequence[Item],
    traps: Collection[str] = (),
) -> Reckoning:
    """Count what became of the images.

    `accepted`, `letters` (dead letters) and `traps` are image ids, `bucket` the stored results by image id, and
    `catalogue` all items of the batch.
    """
    dead, items = Counter(letters), Counter(item.image_id for item in catalogue)
    ends = {id_: (id_ in bucket) + dead[id_] for id_ in accepted}
    strangers = (bucket.keys() | dead.keys() | items.keys()) - set(accepted)
    return Reckoning(
        accepted=len(ends),
        tagged=sum(id_ in bucket and bucket[id_].ok for id_ in ends),
        refused=sum(id_ in bucket and not bucket[id_].ok for id_ in ends),
        dead=sum(dead[id_] > 0 and id_ not in bucket for id_ in ends),
        lost=sum(count == 0 for count in ends.values()),
        doubled=sum(count > 1 for count in ends.values()) + len(strangers),
        unlike=sum(not _alike(item, bucket.get(item.image_id)) or items[item.image_id] > 1 for item in catalogue)
        + len(set(accepted) - items.keys()),
        traps=len(traps),
        refused_photos=sum(id_ in bucket and not bucket[id_].ok for id_ in ends.keys() - set(traps)),
    )


def _alike(item: Item, result: Result | None) -> bool:
    if result is None:
        return item.status == "failed"
    status = "succeeded" if result.ok else "failed"
    tags = [(tag.name, tag.confidence) for tag in result.tags]
    return item.status == status and [(tag.name, tag.confidence) for tag in item.tags] == tags
