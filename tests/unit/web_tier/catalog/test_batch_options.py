"""A batch's options: which of them its jobs carry, and which tags of its results are kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.settings import PoolSettings
from core.domain.messages import Tag, decode_job
from web_tier.catalog.batch_options import BatchOptions, job_options, select_tags, with_defaults

NAMES = st.sampled_from(["Dog", "dog", "golden retriever", "Golden  Retriever", "cat", "Straße", "STRASSE"])
OPTIONS = st.builds(
    BatchOptions,
    top_k=st.none() | st.integers(1, 1000),
    max_tags=st.none() | st.integers(1, 4),
    include=st.lists(NAMES, max_size=3),
    exclude=st.lists(NAMES, max_size=3),
)


def tag(name: str) -> dict[str, object]:
    return {"name": name, "confidence": 0.5, "source": "model", "instances": []}


@given(OPTIONS, st.lists(NAMES, max_size=8))
def test_kept_tags_are_the_first_of_the_wanted_in_their_order(options, names):
    tags = [tag(name) for name in names]
    found = select_tags(tags, options.model_dump())
    rest = iter(tags)
    assert all(one in rest for one in found), "in their order"
    allowed = [name.casefold().split() for name in options.include]
    refused = [name.casefold().split() for name in options.exclude]
    wanted = [
        one
        for one in tags
        if one["name"].casefold().split() not in refused and (not allowed or one["name"].casefold().split() in allowed)
    ]
    assert found == wanted[: options.max_tags]


@given(OPTIONS, st.integers(1, 5000))
def test_options_once_settled_stay_so_and_bound_what_is_kept(options, pool_top_k):
    done = with_defaults(options, pool_top_k)
    assert with_defaults(done, 7) == done
    if options.include or options.exclude:
        assert done.max_tags == options.max_tags or (options.max_tags is None and done.max_tags <= 1000)
    assert job_options(done.model_dump()).top_k == (1000 if options.include or options.exclude else options.top_k)


def test_options_of_before_are_understood():
    assert job_options({"top_k": 3, "min_confidence": None}).top_k == 3
    assert select_tags([tag("dog")], {}) == [tag("dog")]


def test_a_batch_stores_what_it_asks_for_and_shows_all_there_is(web):
    batch = web.batch(options={"top_k": 3})
    assert web.catalog.get_batch(batch).options == {"top_k": 3, "include": [], "exclude": []}, (
        "an older host knows these"
    )
    shown = dict.fromkeys(BatchOptions.model_fields) | {"top_k": 3, "include": [], "exclude": []}
    assert web.get(f"/batches/{batch}")["options"] == shown


def test_a_batch_keeps_the_tags_that_it_asked_for(web):
    batch = web.batch(options={"exclude": ["DOG", "web site"], "max_tags": 2, "min_confidence": 0.1})
    assert web.get(f"/batches/{batch}")["options"]["exclude"] == ["DOG", "web site"]
    web.upload(batch, ("a.jpg", b"1"))
    (job,) = web.jobs()
    assert (job.options.top_k, job.options.min_confidence) == (1000, 0.1)
    names = ("cat", "dog", "bird", "fish")
    tags = tuple(Tag(name=name, confidence=0.5) for name in names)
    web.finish(web.result_of(job).model_copy(update={"tags": tags}))
    web.collect()
    assert [found["name"] for found in web.get(f"/images/{job.image_id}")["tags"]] == ["cat", "bird"]


def test_an_excluded_tag_costs_none_of_the_usual_number(web):
    batch = web.batch(options={"exclude": ["dog"]})
    assert web.get(f"/batches/{batch}")["options"]["max_tags"] == web.settings.pools["resnet50"].top_k


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"max_tags": 0}, "options.max_tags"),
        ({"include": [""]}, "options.include.0"),
        ({"exclude": "dog"}, "options.exclude"),
        ({"exclude": ["x"] * 1001}, "options.exclude"),
    ],
)
def test_wrong_options_are_refused_by_name(web, options, named):
    answer = web.client.post("/api/v1/batches", json={"options": options})
    assert answer.status_code == 422
    assert named in answer.json["detail"]


FLORENCE2 = PoolSettings(tagger="florence2")


def test_what_florence2_is_asked_travels_with_its_jobs(web):
    web.settings.pools["pictures"] = FLORENCE2
    asked = {"tasks": ["detect", "find"], "candidates": ["a red car"], "cumulative": 0.9}
    batch = web.batch(tagger="pictures", options=asked)
    assert web.get(f"/batches/{batch}")["options"].items() >= asked.items()
    web.upload(batch, ("a.jpg", b"1"))
    (delivery,) = web.backend.jobs("pictures").receive(10, 0)
    options = decode_job(delivery.body).options
    assert (options.tasks, options.candidates, options.cumulative) == (("detect", "find"), ("a red car",), 0.9)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"tasks": ["find"]}, "needs candidates"),
        ({"tasks": ["detect"], "candidates": ["dog"]}, "not among tasks"),
        ({"tasks": []}, "options.tasks"),
        ({"tasks": ["sing"]}, "options.tasks.0"),
        ({"candidates": [""]}, "options.candidates.0"),
        ({"candidates": ["x"] * 101}, "options.candidates"),
        ({"cumulative": 0}, "options.cumulative"),
    ],
)
def test_wrong_questions_are_refused_by_name(web, options, problem):
    web.settings.pools["pictures"] = FLORENCE2
    answer = web.client.post("/api/v1/batches", json={"tagger": "pictures", "options": options})
    assert answer.status_code == 422
    assert problem in answer.json["detail"]


def test_a_tagger_that_answers_no_questions_is_asked_none(web):
    answer = web.client.post("/api/v1/batches", json={"options": {"candidates": ["dog"]}})
    assert answer.status_code == 422
    assert answer.json["detail"] == "options: candidates are for florence2, and the pool resnet50 runs resnet50"
    assert answer.json["errors"] == {"options.candidates": ["resnet50 has no such option"]}
