"""Turns pydantic's validation errors into sentences; no other module does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong."""

    where: str
    """The field, dotted: `tags.0.name`. Empty if the value as a whole is wrong."""
    what: str
    kind: str
    """Pydantic's name of the error: `extra_forbidden`, `missing`, …"""
    given: Any
    """The refused value. It may be a secret: think before you show it."""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" if self.where else self.what


def problems(error: ValidationError) -> Iterator[Problem]:
    """Yield everything that is wrong, in the order of the fields."""
    for found in error.errors(include_url=False, include_context=False):
        where = ".".join(map(str, found["loc"]))
        what = found["msg"].removeprefix("Value error, ")  # pydantic's words before those of our own checks
        yield Problem(where, what, found["type"], found["input"])


def first_problem(error: ValidationError, *, whole: str = "") -> str:
    """Return the first problem in one line, `FIELD: PROBLEM`, without the value that was given.

    `whole` replaces the field if the value as a whole is wrong.
    """
    first = next(problems(error))
    return str(first) if first.where or not whole else f"{whole}: {first.what}"
