"""The broader terms of a label, by WordNet 3.0: a Beagle is a Hound, a Hunting Dog, a Dog … They are in wordnet.tsv.

WordNet 3.0 Copyright 2006 by Princeton University. Its licence is in this folder, and so is `make.py`, which makes the
table.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

_BRACKETS = re.compile(r" \([^()]+\)$")


@dataclass(frozen=True, slots=True)
class _Table:
    names: dict[str, str]
    """By the name in lower case."""
    parents: dict[str, str]
    children: dict[str, list[str]]
    called: dict[str, list[str]]
    """Names by what people call them, in lower case: with and without the brackets that tell two of a name apart."""
    by_id: dict[str, str]


def above(name: str) -> tuple[str, ...]:
    """Return the parent, its parent and so on; () for a name at the top, or one that is not in the table."""
    table = _table()
    found = []
    at = table.names.get(name.casefold(), "")
    while at := table.parents.get(at, ""):
        found.append(at)
    return tuple(found)


def below(name: str) -> frozenset[str]:
    """Return all names under it, at any depth: "dog" has 118 of ImageNet's labels. Empty if there are none."""
    table = _table()
    found: set[str] = set()
    waiting = list(table.called.get(name.casefold(), ()))
    while waiting:
        under = table.children.get(waiting.pop(), ())
        found.update(under)
        waiting += under
    return frozenset(found)


def of_id(id_: str) -> str | None:
    """Return the name of an id such as `n02088364`, after which the folders of ImageNet's photos are called."""
    return _table().by_id.get(id_)


@cache
def _table() -> _Table:
    text = files(__package__).joinpath("wordnet.tsv").read_text(encoding="utf-8")
    table = _Table({}, {}, defaultdict(list), defaultdict(list), {})
    for line in text.splitlines():
        name, parent, id_ = line.split("\t")
        table.names[name.casefold()] = name
        for called in {name, _BRACKETS.sub("", name)}:
            table.called[called.casefold()].append(name)
        table.by_id[id_] = name
        if parent:
            table.parents[name] = parent
            table.children[parent].append(name)
    return table
