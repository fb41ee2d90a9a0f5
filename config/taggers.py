"""Finds a tagger's family by its name: `adaptive`, `florence2`, or `model` for all others."""

from __future__ import annotations

from typing import Literal

Family = Literal["adaptive", "florence2", "model"]
RESERVED = ("adaptive", "florence2")
"""Names that a model of the registry must not have."""


def family_of(tagger: str) -> Family:
    """Return the family of `NAME` or `NAME@VERSION`."""
    name = tagger.partition("@")[0]
    if name == "adaptive":
        return "adaptive"
    return "florence2" if name == "florence2" else "model"
