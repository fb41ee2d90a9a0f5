"""Open a catalogue as a `Side`, by its URL."""

from __future__ import annotations

from sqlalchemy import URL

from web_tier.catalog.move_mark import Mark, read_mark
from web_tier.catalog.upkeep.postgresql_side import PostgresqlSide
from web_tier.catalog.upkeep.side import Side
from web_tier.catalog.upkeep.sqlite_side import SqliteSide


def side_of(url: URL) -> Side:
    """Return the catalogue at `url`. Connects later."""
    return SqliteSide(url) if url.drivername == "sqlite" else PostgresqlSide(url)


def mark_of(side: Side) -> Mark | None:
    """Return the mark of a catalogue; None if it has none, or does not exist."""
    if not side.exists():
        return None
    with side.reading() as connection:
        return read_mark(connection)
