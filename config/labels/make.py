"""Makes imagenet1k.txt and wordnet.tsv: `python -m config.labels.make SYNSETS DATA`. Nothing else needs it.

SYNSETS has ImageNet's ids in the order of a network's outputs, one per line: timm's `data/_info/imagenet_synsets.txt`.
DATA is WordNet 3.0's `data.noun`: /usr/share/wordnet/data.noun of Debian's package wordnet-base.
"""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

_HERE = Path(__file__).parent
_TOP = {"entity", "physical entity", "abstraction", "object", "whole", "living thing", "organism", "matter", "thing"}
"""Terms too broad to help anybody who looks for a photo."""
_SMALL = {"a", "and", "de", "des", "in", "o'", "of", "on", "or", "the", "to", "with"}


@dataclass(frozen=True, slots=True)
class Synset:
    synonyms: tuple[str, ...]
    parent: str | None
    """The id of its first hypernym."""


def read(lines: Iterable[str]) -> dict[str, Synset]:
    """Read the lines of `data.noun` by id (`n02084071`); wndb(5WN) describes the format."""
    found = {}
    for line in lines:
        if line.startswith("  "):  # the licence
            continue
        fields = line.split(" ")
        words = int(fields[3], 16)
        synonyms = tuple(fields[4 + 2 * i].replace("_", " ") for i in range(words))
        pointers = fields[5 + 2 * words :]
        parents = [offset for kind, offset in itertools.pairwise(pointers) if kind in ("@", "@i")]
        found[f"n{fields[0]}"] = Synset(synonyms, f"n{parents[0]}" if parents else None)
    return found


def table(ids: list[str], synsets: dict[str, Synset]) -> list[tuple[str, str, str]]:
    """Return name, parent's name ("" at the top) and id: first of `ids` in their order, then of all their ancestors."""
    parents: dict[str, str] = {}
    below: Counter[str] = Counter()
    for id_ in ids:
        while (parent := synsets[id_].parent) and synsets[parent].synonyms[0] not in _TOP:
            below[parent] += 1
            parents[id_] = parent
            id_ = parent
    nodes = list(dict.fromkeys([*ids, *below]))
    names = _unique(ids, sorted(set(nodes) - set(ids), key=lambda id_: (below[id_], id_)), synsets)
    return [(names[id_], names.get(parents.get(id_, ""), ""), id_) for id_ in nodes]


def _unique(labels: list[str], above: list[str], synsets: dict[str, Synset]) -> dict[str, str]:
    """Give each id a name of its own: its first synonym, or else its next one, or else the first and the parent's name.

    Leaf labels get names first, then ancestors, those with the most labels below first.
    """
    names = {id_: _first(synsets, id_) for id_ in labels}
    _settle(names, labels, lambda id_: _synonym(synsets[id_], names))
    names |= {id_: _first(synsets, id_) for id_ in above}
    _settle(names, above, lambda id_: _synonym(synsets[id_], names))
    _settle(names, above + labels, lambda id_: f"{names[id_]} ({_first(synsets, synsets[id_].parent or id_)})")
    return names


def _first(synsets: dict[str, Synset], id_: str) -> str:
    return title(synsets[id_].synonyms[0])


def _settle(names: dict[str, str], ids: list[str], other: Callable[[str], str]) -> None:
    """Give another name to those of `ids` that share one, one after the other."""
    for id_ in ids:
        if sum(name.casefold() == names[id_].casefold() for name in names.values()) > 1:
            names[id_] = other(id_)


def _synonym(synset: Synset, names: dict[str, str]) -> str:
    taken = {name.casefold() for name in names.values()}
    free = [name for name in map(title, synset.synonyms) if name.casefold() not in taken]
    return free[0] if free else title(synset.synonyms[0])


def title(name: str) -> str:
    """Return `jack-o'-lantern` as `Jack-o'-Lantern`; words with a capital of their own keep it: `iPod`."""
    words = name.split(" ")
    return " ".join(
        "-".join(_capital(part, first=not (i or j)) for j, part in enumerate(word.split("-")))
        for i, word in enumerate(words)
    )


def _capital(word: str, *, first: bool) -> str:
    if word != word.lower() or (word in _SMALL and not first):
        return word
    return word[:1].upper() + word[1:]


def main() -> None:
    """Write both files into this folder."""
    ids = Path(sys.argv[1]).read_text().split()
    with Path(sys.argv[2]).open() as data:
        rows = table(ids, read(data))
    (_HERE / "imagenet1k.txt").write_text("".join(f"{name}\n" for name, _, _ in rows[: len(ids)]))
    (_HERE / "wordnet.tsv").write_text("".join("\t".join(row) + "\n" for row in rows))


if __name__ == "__main__":
    main()
