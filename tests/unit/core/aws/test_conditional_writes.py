"""Stores that speak S3's protocol and lack conditional writes are found out before anything relies on them."""

from __future__ import annotations

import time

import pytest

from config import settings as config
from controller import main as controller
from core.aws.store import S3Store
from core.errors import Misconfigured, Unavailable, UnsuitableStore
from core.local.store import LocalStore
from core.storage.conditional_writes import check_conditional_writes
from core.storage.memory import MemoryStore
from core.wiring import Backend
from tests.cloud import clients_of
from tests.contract.aws import made_bucket
from tests.faulty import Answer, Fault, Faulty, Ignored, Request, s3_error

NOT_IMPLEMENTED = s3_error(
    501, "NotImplemented", "A header you provided implies functionality that is not implemented."
)
NOT_ALLOWED = s3_error(405, "MethodNotAllowed", "The specified method is not allowed against this resource.")
INVALID = s3_error(400, "InvalidArgument", "Unsupported header If-Match.")


@pytest.fixture
def faulty(cloud):
    with Faulty(cloud.endpoint).running() as proxy:
        yield proxy


@pytest.fixture
def store(cloud, faulty):
    bucket = made_bucket(cloud, "conditional")
    return S3Store(clients_of(faulty.endpoint, attempts=1), input_bucket=bucket, output_bucket=bucket)


def on_header(name: str, fault: Fault):
    """To every request that has this header, in lower case."""

    def decide(request: Request) -> Fault | None:
        return fault if name in request.headers else None

    return decide


def test_stores_that_have_them_are_taken_and_nothing_is_left(store, tmp_path) -> None:
    for each in (store, LocalStore(tmp_path), MemoryStore(time.time)):
        check_conditional_writes(each, "here")
        assert list(each.list("")) == []


@pytest.mark.parametrize("header", ["if-match", "if-none-match"])
@pytest.mark.parametrize("answer", [NOT_IMPLEMENTED, NOT_ALLOWED, INVALID], ids=["501", "405", "400"])
def test_a_store_that_refuses_them_is_named(faulty, store, header: str, answer: Answer) -> None:
    faulty.on(on_header(header, answer))
    with pytest.raises(
        UnsuitableStore, match=r"^the store \(bucket b at http://s3\) refuses If-(None-)?Match on a put"
    ) as told:
        check_conditional_writes(store, "bucket b at http://s3")
    assert "two controllers could act at once; use Amazon S3" in str(told.value)
    assert "trouble" not in str(told.value)
    faulty.on(lambda request: None)
    assert list(store.list("")) == []


@pytest.mark.parametrize(("header", "named"), [("if-match", "If-Match"), ("if-none-match", "If-None-Match")])
def test_a_store_that_ignores_them_is_found_out(faulty, store, header: str, named: str) -> None:
    faulty.on(lambda request: Ignored((header,)))
    with pytest.raises(UnsuitableStore, match=f"ignores {named} on a put"):
        check_conditional_writes(store, "here")


def test_a_store_that_does_not_answer_is_another_matter(faulty, store) -> None:
    faulty.always(s3_error(503, "SlowDown", "Please reduce your request rate."))
    with pytest.raises(Unavailable, match="safe to try again"):
        check_conditional_writes(store, "here")


@pytest.mark.parametrize("answer", [NOT_IMPLEMENTED, NOT_ALLOWED], ids=["501", "405"])
def test_what_a_server_does_not_have_is_no_trouble_that_passes(faulty, store, answer: Answer) -> None:
    faulty.always(answer)
    with pytest.raises(Misconfigured, match="the server does not support that") as told:
        store.put("fleet/a", b"x")
    assert "try again" not in str(told.value)


def test_neither_a_controller_nor_the_tagging_of_a_bucket_begins_on_such_a_store(cloud, faulty, monkeypatch) -> None:
    from threading import Event

    from core.domain.messages import TagOptions
    from tagfleet.cli.tag_bucket import BucketOptions, tag_bucket

    for name, value in {**cloud.environ, "AWS_ENDPOINT_URL": faulty.endpoint}.items():
        monkeypatch.setenv(name, value)
    bucket = made_bucket(cloud, "conditional")
    flags = {"backend": "aws", "aws.input_bucket": bucket, "aws.output_bucket": bucket}
    settings = config.load({}, flags=flags)
    faulty.on(on_header("if-none-match", NOT_IMPLEMENTED))
    with pytest.raises(UnsuitableStore, match=f"bucket {bucket} at {faulty.endpoint}"):
        controller.run(Backend(settings), [], Event())
    wanted = BucketOptions(None, None, None, 1, True, None, False, None, None, 0.0)
    with pytest.raises(UnsuitableStore, match="If-None-Match"):
        tag_bucket(settings, [f"s3://{bucket}/"], None, TagOptions(), wanted)
