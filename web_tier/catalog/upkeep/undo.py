"""Let a catalogue be used again after it was moved."""

from __future__ import annotations

from sqlalchemy import URL

from core.errors import TagfleetError
from web_tier.catalog.move_mark import Mark, Role, write_mark
from web_tier.catalog.upkeep.sides import mark_of, side_of


def undo(url: URL) -> str:
    """Let the catalogue at `url` be used again after it was moved. Return where it was moved to.

    Raises TagfleetError if it was not moved.
    """
    side = side_of(url)
    try:
        mark = mark_of(side)
        if mark is None or mark.role not in (Role.LEFT, Role.LEAVING):
            raise TagfleetError(f"catalogue {side.place}: it was not moved, so there is nothing to undo")
        with side.writing() as connection:
            write_mark(connection, _before(mark))
        return mark.other
    finally:
        side.close()


def _before(mark: Mark) -> Mark | None:
    """Return the mark that a catalogue had before it was moved."""
    if not mark.earlier:
        return None
    return Mark(Role.ARRIVED, mark.earlier[-1], mark.other, mark.at, mark.earlier[:-1])
