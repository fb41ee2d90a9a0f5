"""Choose the kind of `Side` by a catalogue's URL."""

from __future__ import annotations

from sqlalchemy import URL

from web_tier.catalog.upkeep.postgresql_side import PostgresqlSide
from web_tier.catalog.upkeep.side import Side
from web_tier.catalog.upkeep.sqlite_side import SqliteSide


def side_of(url: URL) -> Side:
    """Return the catalogue at `url`. Connects later."""
    return SqliteSide(url) if url.drivername == "sqlite" else PostgresqlSide(url)
