"""Which family a tagger is of, by its name: the two that have code of their own, or any model."""

from __future__ import annotations

from typing import Literal

Family = Literal["adaptive", "florence2", "model"]
RESERVED = ("adaptive", "florence2")
"""Names that no model of the registry may have."""


def family_of(tagger: str) -> Family:
    """`tagger` is NAME or NAME@VERSION."""
    name = tagger.partition("@")[0]
    if name == "adaptive":
        return "adaptive"
    return "florence2" if name == "florence2" else "model"
