"""Give back disk space that a catalogue does not use any more."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import URL

from web_tier.catalog.upkeep.sides import side_of


@dataclass(frozen=True, slots=True)
class Vacuumed:
    """The bytes that a catalogue took on disk before, and those that it takes now."""

    place: str
    before: int
    after: int


def vacuum(url: URL) -> Vacuumed:
    """Vacuum the catalogue at `url`, also while the service runs; writers of SQLite get Unavailable meanwhile.

    Raises Unavailable, TagfleetError if there is too little free space for it.
    """
    side = side_of(url)
    try:
        before = side.size()
        side.vacuum()
        return Vacuumed(side.place, before, side.size())
    finally:
        side.close()
