"""Names of labels, and what WordNet puts above them."""

from __future__ import annotations

import pytest

from config import labels
from config.labels import hierarchy, make

IMAGENET = labels.load("imagenet1k")


def test_no_two_labels_share_a_name() -> None:
    assert len({name.casefold() for name in IMAGENET}) == len(IMAGENET) == 1000


def test_names_are_first_synonyms_in_title_case() -> None:
    assert (IMAGENET[24], IMAGENET[281], IMAGENET[605]) == ("Great Grey Owl", "Tabby", "iPod")
    cardigans = [name for name in IMAGENET if name.startswith("Cardigan")]
    assert cardigans == ["Cardigan Welsh Corgi", "Cardigan"]
    assert not [name for name in IMAGENET if name[0].islower() and name != "iPod"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("jack-o'-lantern", "Jack-o'-Lantern"),
        ("black-and-tan coonhound", "Black-and-Tan Coonhound"),
        ("Bouvier des Flandres", "Bouvier des Flandres"),
        ("CD player", "CD Player"),
    ],
)
def test_title_case(name: str, expected: str) -> None:
    assert make.title(name) == expected


def test_every_label_has_what_lies_above_it() -> None:
    for name in IMAGENET:
        above = hierarchy.above(name)
        assert above
        assert len(set(above)) == len(above)
        for other in above:
            assert name in hierarchy.below(other)


def test_names_are_found_in_any_case_and_without_what_tells_two_apart() -> None:
    assert hierarchy.above("beagle")[:3] == ("Hound", "Hunting Dog", "Dog")
    assert len(hierarchy.below("DOG") & set(IMAGENET)) == 118
    assert hierarchy.below("table") == hierarchy.below("table (furniture)") | hierarchy.below("Table")
    assert hierarchy.above("what nobody knows") == ()
    assert hierarchy.below("what nobody knows") == frozenset()
    assert (hierarchy.of_id("n02088364"), hierarchy.of_id("n00000000")) == ("Beagle", None)


SYNSETS = """\
  1 the licence
00000001 03 n 01 animal 0 000 | x
00000002 05 n 02 crane 0 grus 0 002 @ 00000001 n 0000 #p 00000009 n 0000 | x
00000003 06 n 01 crane 1 001 @ 00000004 n 0000 | x
00000004 06 n 01 lifting_device 0 000 | x
00000005 05 n 01 grus 0 001 @i 00000001 n 0000 | x
"""


def test_a_name_that_is_taken_gives_way_to_the_next_synonym_and_then_to_brackets() -> None:
    rows = make.table(["n00000002", "n00000003", "n00000005"], make.read(SYNSETS.splitlines()))
    assert rows == [
        ("Crane (Animal)", "Animal", "n00000002"),
        ("Crane", "Lifting Device", "n00000003"),
        ("Grus", "Animal", "n00000005"),
        ("Animal", "", "n00000001"),
        ("Lifting Device", "", "n00000004"),
    ]
