"""What an image's tags are: what the tagger said, and over it what people decided. Pure functions.

A person's decision about one tag of one image is a verdict: the tag is wanted, or it is not. What is shown is always
made anew from the tagger's tags and the verdicts that stand, so a later result can't overwrite a person, and an edit
that is undone leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.domain.tag_names import clean_tag as clean_tag
from core.domain.tag_names import tag_key as tag_key

MAX_TAG = 100
"""Longest name of a tag that a person may give, in characters."""

TagDict = dict[str, Any]
"""A `core.domain.messages.Tag` as the catalogue keeps it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`name` is the tag as the person wrote it."""

    name: str
    wanted: bool


def standing(verdicts: Iterable[Verdict]) -> dict[str, Verdict]:
    """The last verdict about each tag, by the tag's key, out of verdicts in the order in which they were given."""
    last: dict[str, Verdict] = {}
    for verdict in verdicts:
        key = tag_key(verdict.name)
        last.pop(key, None)
        last[key] = verdict
    return last


def merged(said: Sequence[TagDict], verdicts: Mapping[str, Verdict]) -> list[TagDict]:
    """The tags to show, each once: what the tagger said and nobody took away, then what people added.

    A tag that both gave is the person's: it keeps its place, its spelling and its boxes, and has no confidence.
    """
    shown: dict[str, TagDict] = {}
    for tag in said:
        key = tag_key(tag["name"])
        verdict = verdicts.get(key)
        if key in shown or (verdict is not None and not verdict.wanted):
            continue
        shown[key] = tag if verdict is None else _by_person(tag["name"], tag["instances"])
    for key, verdict in verdicts.items():
        if verdict.wanted and key not in shown:
            shown[key] = _by_person(verdict.name, [])
    return list(shown.values())


def _by_person(name: str, instances: list[Any]) -> TagDict:
    return {"name": name, "confidence": None, "source": "person", "instances": instances}
