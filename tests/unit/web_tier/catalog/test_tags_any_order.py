"""Edits, results and retries in any order: a person's tags stay, no tag is doubled, an undo leaves no trace."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from web_tier.catalog.batches import Batch, Upload
from web_tier.catalog.edits import TagDecision, tag_key
from web_tier.catalog.lifecycle import LifecycleCatalog
from web_tier.catalog.results import ImageOutcome
from web_tier.catalog.tag_rows import TagFilter
from web_tier.catalog.tags import Edit, TagCatalog

ACTIONS = st.one_of(
    st.tuples(st.just("edit"), st.sampled_from(["dog", "Dog", "cat", "sea"]), st.booleans()),
    st.tuples(st.just("undo"), st.integers(0, 20), st.none()),
    st.tuples(
        st.just("result"),
        st.lists(st.sampled_from(["dog", "CAT", "sun"])),
        st.sampled_from(["good", "broken", "lost", "late"]),
    ),
    st.tuples(st.just("retry"), st.none(), st.none()),
)


@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(actions=st.lists(ACTIONS, max_size=15))
def test_no_order_of_edits_undos_and_results_loses_or_doubles_a_tag(web, actions):
    """The model: the result that counts, under those of the edits that nobody undid."""
    catalog = TagCatalog(web.catalog.database)
    life = LifecycleCatalog(web.catalog.database)
    web.clock.now += 1
    batch = web.catalog.create_batch(
        Batch(web.clock.now.hex(), "p", {}, {}, 0.0, None, None, 0, 0, 0, 0), payload_hash=""
    )[0]
    id_ = f"{batch.id}-image"
    web.catalog.add_images(batch.id, [Upload(id_, id_, id_, 1)], 0.0)
    live: dict[str, tuple[str, bool]] = {}
    edits: list[str] = []
    said: list[str] = []
    for kind, what, how in actions:
        attempt = web.catalog.find_image(id_).attempt
        if kind == "edit":
            edits.append(f"edt_{batch.id}_{len(edits)}")
            catalog.edit(batch.id, [id_], Edit(edits[-1], [TagDecision(what, how)]), 1.0)
            live[edits[-1]] = (what, how)
        elif kind == "undo" and edits:
            undone = edits[what % len(edits)]
            catalog.undo(batch.id, undone, 2.0)
            live.pop(undone, None)
        elif kind == "retry":
            life.retry(batch.id, [id_], 2.0)
        elif kind == "result":
            outcome = _outcome(batch.id, id_, what, how, attempt)
            if web.catalog.record([outcome, outcome], 3.0).new:
                assert how != "late"
                said = [tag["name"] for tag in outcome.tags]
        image = web.catalog.find_image(id_)
        last = {tag_key(name): wanted for name, wanted in live.values()}
        sources = dict.fromkeys(map(tag_key, said), "model") | dict.fromkeys(last, "person")
        expected = {key: source for key, source in sources.items() if last.get(key, True)}
        shown = [(tag_key(tag["name"]), tag["source"]) for tag in image.tags]
        assert sorted(shown) == sorted(expected.items())
        assert image.edited == (expected != dict.fromkeys(map(tag_key, said), "model"))
        assert _found(catalog, id_) == expected.keys()
        assert [changed.id for changed in web.catalog.list_changes(batch.id, 0, 9)] == [id_]
        assert image.change <= web.catalog.read_change(batch.id)


def _outcome(batch_id: str, id_: str, names: list[str], how: str, attempt: int) -> ImageOutcome:
    tags = [{"name": name, "confidence": 0.5, "source": "model", "instances": []} for name in names]
    return ImageOutcome(
        batch_id=batch_id,
        image_id=id_,
        name=id_,
        error=None if how in ("good", "late") else how,
        tags=tags if how in ("good", "late") else [],
        caption=None,
        timings=None,
        tagger="t",
        finished_at=1.0,
        attempt=attempt - (how == "late"),
        provisional=how == "lost",
    )


def _found(catalog: TagCatalog, id_: str) -> set[str]:
    """Keys of the tags under which a search finds the image."""
    names = {"dog", "cat", "sea", "sun"}
    return {name for name in names if id_ in [image.id for image in catalog.search(TagFilter(name=name), 1000)]}
