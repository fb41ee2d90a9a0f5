"""Rules for an image's tags: what the tagger found, and people's edits on top of it. Pure functions.

An edit is a set of decisions: a person wants a tag on an image, or does not want it. The shown tags are always computed
anew from the tagger's tags and the decisions in effect. So a later result cannot overwrite a person, and an undone edit
leaves no trace.
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
"""A `core.domain.messages.Tag` as the catalogue stores it."""


@dataclass(frozen=True, slots=True)
class TagDecision:
    """A person's decision about one tag; `name` is the tag as the person wrote it. A row of the table `verdicts`."""

    name: str
    wanted: bool


def latest_decisions(decisions: Iterable[TagDecision]) -> dict[str, TagDecision]:
    """Return the last decision about each tag, by the tag's key. `decisions` are in the order of their making."""
    last: dict[str, TagDecision] = {}
    for decision in decisions:
        key = tag_key(decision.name)
        last.pop(key, None)
        last[key] = decision
    return last


def merge_tags(model_tags: Sequence[TagDict], decisions: Mapping[str, TagDecision]) -> list[TagDict]:
    """Return the tags to show, each once: the tagger's without those people removed, then those people added.

    A tag that both gave counts as the person's: it keeps its place, its spelling and its boxes, and has no confidence.
    """
    shown: dict[str, TagDict] = {}
    for tag in model_tags:
        key = tag_key(tag["name"])
        decision = decisions.get(key)
        if key in shown or (decision is not None and not decision.wanted):
            continue
        shown[key] = tag if decision is None else _by_person(tag["name"], tag["instances"])
    for key, decision in decisions.items():
        if decision.wanted and key not in shown:
            shown[key] = _by_person(decision.name, [])
    return list(shown.values())


def _by_person(name: str, instances: list[Any]) -> TagDict:
    return {"name": name, "confidence": None, "source": "person", "instances": instances}
