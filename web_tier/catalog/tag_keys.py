"""Find the tags that a filter stands for: each has a range of an index on `tags`."""

from __future__ import annotations

from sqlalchemy import Connection, select

from web_tier.catalog.index_ranges import MOST_KEYS
from web_tier.catalog.tables import tag_counts
from web_tier.catalog.tag_rows import TagFilter, prefix_range


def find_keys(connection: Connection, wanted: TagFilter, batch_id: str) -> list[str] | None:
    """Return the keys of a batch's tags, or of all with `tag_counts.ALL`, that the name or the prefix stands for.

    None if there are more than `MOST_KEYS`, or if the filter has neither.
    """
    keys = wanted.keys()
    if keys is not None and len(keys) <= MOST_KEYS:
        return keys
    there = select(tag_counts.c.key).where(tag_counts.c.batch_id == batch_id)
    if keys is not None:
        there = there.where(tag_counts.c.key.in_(keys))
    elif wanted.prefix is not None:
        low, high = prefix_range(wanted.prefix)
        there = there.where(tag_counts.c.key >= low, tag_counts.c.key < high)
    else:
        return None
    found = list(connection.execute(there.order_by(tag_counts.c.key).limit(MOST_KEYS + 1)).scalars())
    return found if len(found) <= MOST_KEYS else None
