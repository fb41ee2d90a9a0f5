"""Write and parse cursors of pages of results.

In upload order a cursor is the position of the last image, as it always was, so that clients may begin anywhere. In
another order it names the order, so that a cursor of a different one is recognised.
"""

from __future__ import annotations

import math

from web_tier.catalog.result_queries import Order, Place
from web_tier.http.problems import Refused

_MAX_NUMBER = (1 << 63) - 1
_SEPARATOR = "_"
_NONE = "none"


def write_cursor(order: Order, end: Place) -> str:
    """Return the cursor of the page that begins beyond this place."""
    if order == "upload":
        return str(end.number)
    if order == "latest":
        return _SEPARATOR.join((order, str(end.number)))
    return _SEPARATOR.join((order, str(end.number), _NONE if end.surest is None else repr(end.surest)))


def parse_cursor(order: Order, cursor: str) -> Place:
    """Return the place that a cursor stands for. Raises Refused if no page in this order can have given it."""
    given, *fields = [order, cursor] if order == "upload" else cursor.split(_SEPARATOR)
    try:
        place = _place(order, fields) if given == order else None
    except ValueError:
        place = None
    if place is None:
        what = "a position such as 41" if order == "upload" else f"the next_cursor of a page with order={order}"
        raise Refused(
            422,
            f"cursor: {cursor[:80]!r} is none of a page in this order; pass {what}, or no cursor for the first page",
            errors={"cursor": [f"not a cursor of order={order}"]},
        )
    return place


def _place(order: Order, fields: list[str]) -> Place | None:
    if len(fields) != (2 if order in ("surest", "unsure") else 1) or not (fields[0].isascii() and fields[0].isdigit()):
        return None
    number = int(fields[0])
    if number > _MAX_NUMBER:
        return None
    if len(fields) == 1 or fields[1] == _NONE:
        return Place(number)
    surest = float(fields[1])
    return Place(number, surest) if math.isfinite(surest) else None
