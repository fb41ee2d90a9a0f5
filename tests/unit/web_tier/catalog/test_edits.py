"""The shown tags of an image: the tagger's and people's, each once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web_tier.catalog.edits import TagDecision, clean_tag, latest_decisions, merge_tags, tag_key

NAMES = st.sampled_from(["dog", "Dog", "cat", "straße", "STRASSE", "e\u0301t\u00e9", "\u00e9te\u0301", "sea"])
VERDICTS = st.lists(st.builds(TagDecision, NAMES, st.booleans()))


def said(*names: str) -> list[dict]:
    return [
        {"name": name, "confidence": 0.5, "source": "model", "instances": [{"box": [0, 0, 1, 1]}]} for name in names
    ]


@given(given=VERDICTS, names=st.lists(NAMES))
def test_every_wanted_tag_is_there_once_and_no_other_of_the_verdicts(given, names):
    last = {tag_key(verdict.name): verdict.wanted for verdict in given}
    shown = merge_tags(said(*names), latest_decisions(given))
    keys = [tag_key(tag["name"]) for tag in shown]
    assert len(keys) == len(set(keys))
    assert set(keys) == {key for key in (*map(tag_key, names), *last) if last.get(key, True)}
    for tag in shown:
        by_person = last.get(tag_key(tag["name"]), False)
        assert (tag["source"], tag["confidence"]) == (("person", None) if by_person else ("model", 0.5))


def test_what_a_person_confirms_keeps_its_place_its_spelling_and_its_boxes():
    shown = merge_tags(
        said("sea", "dog", "sun"), latest_decisions([TagDecision("DOG", True), TagDecision("Rex", True)])
    )
    assert [tag["name"] for tag in shown] == ["sea", "dog", "sun", "Rex"]
    assert shown[1]["instances"] == said("dog")[0]["instances"]


def test_of_two_tags_of_one_name_the_first_counts():
    """ImageNet has two cranes, the bird and the machine; the more confident one comes first."""
    (shown,) = merge_tags([said("crane")[0] | {"confidence": 0.9}, said("Crane")[0]], {})
    assert (shown["name"], shown["confidence"]) == ("crane", 0.9)


def test_people_s_tags_come_in_the_order_in_which_they_were_last_added():
    given = [TagDecision("a", True), TagDecision("b", True), TagDecision("a", False), TagDecision("a", True)]
    assert [tag["name"] for tag in merge_tags([], latest_decisions(given))] == ["b", "a"]


@pytest.mark.parametrize(
    ("given", "kept"),
    [(" a  dog\n", "a dog"), ("e\u0301te\u0301", "\u00e9t\u00e9"), ("a\x00b\x1b[1m", "a b [1m"), ("🐕", "🐕")],
)
def test_a_tag_is_kept_as_it_can_be_shown(given, kept):
    assert clean_tag(given) == kept


@pytest.mark.parametrize("given", ["", " ", "\x00\x1f", "\u2028"])
def test_a_tag_that_nobody_can_see_is_none(given):
    with pytest.raises(ValueError, match="at least one character"):
        clean_tag(given)
