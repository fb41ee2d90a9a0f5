"""Messages survive the queue, and what is no message is refused with a reason."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain.ids import new_id
from core.domain.messages import (
    MAX_INLINE_RESULT,
    MAX_OPINIONS,
    Feedback,
    Job,
    Opinion,
    Result,
    Tag,
    TagOptions,
    decode_feedback,
    decode_job,
    decode_output,
    decode_result,
    encode,
    encode_output,
    is_feedback,
)
from core.errors import BadMessage

texts = st.text(st.characters(codec="utf-8"), max_size=50)
ids = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,20}", fullmatch=True)
tags = st.builds(Tag, name=texts, confidence=st.none() | st.floats(0, 1))
results = st.builds(Result, batch_id=ids, image_id=ids, name=texts, tagger=texts, tags=st.lists(tags).map(tuple))


@given(
    job=st.builds(Job, key=texts, name=texts, tagger=texts, batch_id=ids, image_id=ids, submitted_at=st.floats(0, 9e9))
)
def test_a_job_comes_back_as_it_was(job: Job) -> None:
    assert decode_job(encode(job)) == job


def test_options_that_nobody_asked_for_are_not_sent_to_older_workers() -> None:
    job = Job(batch_id="b", image_id="i", key="k", name="n", tagger="t", submitted_at=0)
    assert json.loads(encode(job))["options"] == {}
    asked = TagOptions(top_k=3, tasks=("detect",))
    assert json.loads(encode(job.model_copy(update={"options": asked})))["options"] == {"top_k": 3, "tasks": ["detect"]}


@given(
    feedback=st.builds(
        Feedback,
        key=texts,
        name=texts,
        batch_id=ids,
        image_id=ids,
        revision=st.integers(0, 2**40),
        opinions=st.lists(st.builds(Opinion, name=texts, wanted=st.booleans()), max_size=5).map(tuple),
    )
)
def test_feedback_comes_back_as_it_was_and_is_no_job(feedback: Feedback) -> None:
    body = encode(feedback)
    assert is_feedback(body)
    assert decode_feedback(body) == feedback
    with pytest.raises(BadMessage):
        decode_job(body)


def test_all_that_people_may_hold_about_an_image_fits_into_a_message_of_sqs() -> None:
    opinions = tuple(Opinion(name="\U0001f34e" * 100, wanted=True) for _ in range(MAX_OPINIONS))
    feedback = Feedback(batch_id="b", image_id="i", key="k", name="\U0001f34e" * 1024, revision=1, opinions=opinions)
    assert len(encode(feedback).encode()) < 256 << 10


@given(result=results)
def test_the_output_is_name_and_labels_with_the_result_beside(result: Result) -> None:
    output = decode_output(encode_output(result, "results/b/i.json"))
    assert (output.key, output.value) == (result.name, tuple(tag.name for tag in result.tags))
    assert (output.result, output.result_key) == (result, "results/b/i.json")
    assert decode_result(encode(result)) == result


def test_a_result_too_large_for_a_message_is_pointed_at() -> None:
    many = tuple(Tag(name=f"tag {number}", confidence=0.5) for number in range(10_000))
    body = encode_output(Result(batch_id="b", image_id="i", name="n", tagger="t", tags=many), "results/b/i.json")
    assert len(body) < MAX_INLINE_RESULT
    assert decode_output(body).result is None
    assert decode_output(body).result_key == "results/b/i.json"


@pytest.mark.parametrize("body", ["", "null", "[]", "{", '{"v": 2}', '{"v": 1, "batch_id": 3}', "\x00"])
def test_what_is_no_job_is_refused_with_a_reason(body: str) -> None:
    with pytest.raises(BadMessage, match="not a Job message"):
        decode_job(body)


def test_ids_sort_by_time_and_never_repeat() -> None:
    ids = [new_id("img", now=1_800_000_000 + second) for second in range(50)]
    assert ids == sorted(ids)
    assert len({new_id("img", now=5.0) for _ in range(1000)}) == 1000
    assert all(len(one) == 26 and one.islower() for one in ids)


@pytest.mark.parametrize("evil", ["../../etc", "a/b", "", ".", "..", "a\x00b", "x" * 101])
def test_an_id_that_is_no_segment_of_a_key_is_refused(evil: str) -> None:
    good = Job(batch_id="bat_1", image_id="img_1", key="images/b/i", name="n", tagger="t", submitted_at=0)
    for field in ("batch_id", "image_id"):
        body = good.model_copy(update={field: evil}).model_dump_json()
        with pytest.raises(BadMessage, match=field):
            decode_job(body)
