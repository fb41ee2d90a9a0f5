"""What a bucket tells of its files becomes jobs: whatever the keys, once for each file, and nothing for folders."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain.addresses import address, split_address
from core.domain.dropped_files import is_drop, make_image_id
from core.domain.messages import Feedback, Job, decode_job, encode
from core.domain.notifications import ParsedMessage, parse_message, preview_message
from core.errors import BadMessage

keys = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=60)
files = keys.filter(lambda key: not key.endswith("/"))


def record(key: str, etag: str = "d41d8cd98f00b204e9800998ecf8427e", **changes: Any) -> dict[str, Any]:
    found = {"key": quote_plus(key), "size": 1024, "eTag": etag, "sequencer": "0055AED6DCD90281E5"}
    return {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": "eu-central-1",
        "eventTime": "1970-01-01T00:01:40.000Z",
        "eventName": changes.pop("name", "ObjectCreated:Put"),
        "s3": {"bucket": {"name": "input"}, "object": found | changes},
    }


def event(*records: dict[str, Any]) -> str:
    return json.dumps({"Records": records})


def told(body: str) -> ParsedMessage:
    return parse_message(body, "resnet50")


def only(body: str) -> Job:
    (job,) = told(body).jobs
    return job


@given(key=files)
def test_a_key_of_any_characters_comes_back_as_it_is(key: str) -> None:
    job = only(event(record(key)))
    assert split_address(job.key) == ("input", key)
    assert job.origin is not None
    assert job.origin.uri == job.key == address("input", key)
    assert decode_job(encode(job)) == job


@given(found=st.lists(st.tuples(files, st.sampled_from(["a", "b"])), min_size=1, max_size=6))
def test_ids_are_those_of_the_file_and_its_content(found: list[tuple[str, str]]) -> None:
    """Together or alone, once or twice: one id for one content of one key, and no id for two."""
    together = [job.image_id for job in told(event(*(record(key, etag) for key, etag in found))).jobs]
    assert together == [only(event(record(key, etag))).image_id for key, etag in found]
    assert len(set(together)) == len(set(found))


@given(
    body=st.text(max_size=80)
    | st.recursive(
        st.none() | st.integers() | st.text(max_size=9),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["Records", "s3", "Type", "Message"]), inner)
        ),
    ).map(json.dumps)
)
def test_any_other_body_is_refused_and_nothing_else(body: str) -> None:
    try:
        assert told(body) == ParsedMessage()
    except BadMessage as error:
        assert "not a Job message" in str(error)


def test_a_photo_of_a_folder_is_an_item_of_its_batch() -> None:
    job, other, deep, loose = told(
        event(
            record("images/my trip/a+b.jpg"),
            record("images/my trip/c.jpg"),
            record("images/my trip/x/c.jpg"),
            record("images/d.jpg"),
        )
    ).jobs
    assert (job.name, job.origin and job.origin.folder) == ("a+b.jpg", "s3://input/images/my trip/")
    assert job.batch_id == other.batch_id == deep.batch_id != loose.batch_id
    assert (deep.name, loose.name) == ("x/c.jpg", "d.jpg")
    assert is_drop(job.batch_id)
    assert job.submitted_at == 100.0


def test_a_duplicate_has_the_same_id_and_a_replaced_file_another() -> None:
    first = only(event(record("images/a.jpg", "one", versionId="1")))
    assert only(event(record("images/a.jpg", "one", versionId="1"))).image_id == first.image_id
    completed = record("images/a.jpg", "one", versionId="1", name="ObjectCreated:CompleteMultipartUpload")
    assert only(event(completed)).image_id == first.image_id == make_image_id("input", "images/a.jpg", "one")
    assert only(event(record("images/a.jpg", "two"))).image_id != first.image_id


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "input"}), "test event"),
        (event(record("images/folder/", size=0)), "a folder is not a file"),
        (event(record("images/a.jpg", name="ObjectRemoved:Delete")), "ObjectRemoved:Delete creates no file"),
    ],
)
def test_what_is_no_file_is_ignored_with_a_reason(body: str, why: str) -> None:
    asked = told(body)
    assert asked.jobs == ()
    assert why in asked.ignored[0]


def test_the_same_through_sns_and_eventbridge() -> None:
    direct = only(event(record("images/red flower.jpg", "e")))
    assert only(json.dumps({"Type": "Notification", "Message": event(record("images/red flower.jpg", "e"))})) == direct
    bridged = {
        "source": "aws.s3",
        "detail-type": "Object Created",
        "time": datetime.fromtimestamp(100, UTC).isoformat(),
        "detail": {"bucket": {"name": "input"}, "object": {"key": "images/red flower.jpg", "size": 1024, "etag": "e"}},
    }
    assert only(json.dumps(bridged)) == direct


def test_a_time_of_nowhere_is_refused() -> None:
    """S3 says UTC; a worker would take such a time for one of its own zone, or die of one that has no number."""
    for moment in ("0001-01-01T00:00:00", "2026-01-01T00:00:00"):
        with pytest.raises(BadMessage):
            told(event(record("images/a.jpg") | {"eventTime": moment}))


def test_a_key_that_no_database_takes_is_refused() -> None:
    with pytest.raises(BadMessage, match="cannot be stored"):
        told(event(record("images/a\0b.jpg")))


def test_an_address_names_a_bucket() -> None:
    with pytest.raises(ValueError, match="not an address"):
        split_address("images/a.jpg")


def test_feedback_is_asked_for_beside_jobs() -> None:
    feedback = Feedback(batch_id="b", image_id="i", key="k", name="a.jpg", revision=3)
    asked = told(encode(feedback))
    assert asked == ParsedMessage(feedback=feedback)
    assert asked
    assert not ParsedMessage(ignored=("a folder is not a file",))
    assert preview_message(encode(feedback)).name == "a.jpg"


def test_damaged_feedback_is_refused_for_what_it_is() -> None:
    with pytest.raises(BadMessage, match="not a Feedback message: batch_id"):
        told('{"kind": "feedback", "v": 1}')
