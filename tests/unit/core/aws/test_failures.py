"""What becomes of requests that AWS or the way to it fails: done in the end, or told in one line, and nothing lost."""

from __future__ import annotations

import io
import json

import pytest

from core.aws.multipart import PART
from core.aws.queue import SqsQueue
from core.aws.sources import S3Source
from core.aws.store import S3Store
from core.errors import Misconfigured, PartialSend, PreconditionFailed, Unavailable, Unreadable
from core.storage.ports import Delivery, IfAbsent, IfMatch
from tests.cloud import clients_of
from tests.contract.aws import made_bucket, made_queue
from tests.faulty import Answer, Cut, Faulty, Lost, Request, Reset, Short, Silence, s3_error, sqs_error, sqs_failed

SLOW_DOWN = s3_error(503, "SlowDown", "Please reduce your request rate.")
BROKEN = s3_error(500, "InternalError", "We encountered an internal error.")
THROTTLED = sqs_error(400, "ThrottlingException", "Rate exceeded")


@pytest.fixture
def faulty(cloud):
    with Faulty(cloud.endpoint).running() as proxy:
        yield proxy


@pytest.fixture
def clients(faulty):
    return clients_of(faulty.endpoint, attempts=2, connect_s=10.0, read_s=60.0)


@pytest.fixture(scope="module")
def buckets(cloud):
    return made_bucket(cloud, "input"), made_bucket(cloud, "output")


@pytest.fixture
def store(clients, buckets):
    return S3Store(clients, input_bucket=buckets[0], output_bucket=buckets[1])


@pytest.fixture
def queue(cloud, clients):
    deployment = cloud.name("tagfleet")
    made_queue(cloud, f"{deployment}-jobs", 3)
    return SqsQueue(clients, deployment, "jobs", visibility_timeout_s=600)


def line(caught) -> str:
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("fault", [SLOW_DOWN, BROKEN, Reset(), Lost()], ids=["slow", "broken", "reset", "lost"])
def test_what_fails_once_is_done_in_the_end(faulty, store, fault):
    faulty.first(fault)
    etag = store.put("results/b/i.json", b"{}")
    faulty.first(fault)
    assert (store.get("results/b/i.json").data, store.get("results/b/i.json").etag) == (b"{}", etag)


def test_what_fails_for_good_is_told_in_a_line(faulty, store, buckets):
    for fault, says in ((SLOW_DOWN, "fewer requests"), (BROKEN, "AWS has a problem"), (Reset(), "connection failed")):
        faulty.always(fault)
        with pytest.raises(Unavailable, match=f"cannot put objects into bucket {buckets[1]}: .*{says}") as caught:
            store.put("a", b"")
        assert "try again" in line(caught)


def test_a_service_that_keeps_silent_is_asked_again_and_given_up(faulty, buckets):
    def store_for(attempts: int) -> S3Store:
        impatient = clients_of(faulty.endpoint, attempts=attempts, read_s=0.5)
        return S3Store(impatient, input_bucket=buckets[0], output_bucket=buckets[1])

    faulty.first(Silence())
    store_for(20).put("a", b"heard")  # a busy machine may keep silent for half a second, too
    faulty.always(Silence())
    with pytest.raises(Unavailable, match="no answer in time"):
        store_for(2).get("a")


def test_bytes_that_break_off_are_read_again(faulty, store):
    data = bytes(range(256)) * 4000
    store.put("a", data)
    faulty.first(Cut(), Cut(), of="GET")
    assert store.get("a").data == data


@pytest.mark.parametrize("conditioned", [IfAbsent(), None], ids=["absent", "match"])
def test_a_conditional_put_whose_answer_is_lost_knows_its_own_object(faulty, store, conditioned):
    key = f"fleet/{'a' if conditioned else 'b'}"
    condition = conditioned or IfMatch(store.put(key, b"before"))
    faulty.first(Lost(), of="PUT")
    etag = store.put(key, b"mine", condition=condition)
    assert (store.get(key).data, store.get(key).etag) == (b"mine", etag)
    faulty.first(Lost(), of="PUT")
    with pytest.raises(PreconditionFailed):
        store.put(key, b"mine", condition=IfAbsent())


def test_a_conflict_of_writers_is_tried_again(faulty, store):
    conflict = s3_error(409, "ConditionalRequestConflict", "The conditional request cannot succeed")
    faulty.first(conflict, conflict, of="PUT")
    store.put("fleet/c", b"mine", condition=IfAbsent())
    assert store.get("fleet/c").data == b"mine"


def test_a_put_that_met_its_own_first_try_knows_its_object(faulty, store):
    """Sent again while the first try was still under way, and again when that one was done."""
    conflict = s3_error(409, "ConditionalRequestConflict", "The conditional request cannot succeed")
    faulty.first(Lost(), conflict, of="PUT")
    etag = store.put("fleet/d", b"mine", condition=IfAbsent())
    assert store.get("fleet/d").etag == etag


def test_a_large_file_that_fails_leaves_no_parts_behind(faulty, store, cloud, buckets):
    faulty.always(s3_error(403, "AccessDenied", "Access Denied"), of="PUT ?uploadId")
    with pytest.raises(Misconfigured, match="s3:PutObject"):
        store.put("uploads/b/large", io.BytesIO(bytes(PART + 1)))
    assert "Uploads" not in cloud.client("s3").list_multipart_uploads(Bucket=buckets[0])


def test_a_large_file_whose_last_answer_is_lost_is_there(faulty, store):
    faulty.first(Lost(), of="POST ?uploadId")
    store.put("uploads/b/large", io.BytesIO(bytes(PART) + b"end"), condition=IfAbsent())
    assert store.get("uploads/b/large").data == bytes(PART) + b"end"


def test_keys_that_were_not_deleted_are_deleted_in_another_round(faulty, store):
    for number in range(3):
        store.put(f"a/{number}", b"")
    failed = "<Error><Key>a/1</Key><Code>InternalError</Code><Message>try again</Message></Error>"
    told = Answer(200, f"<DeleteResult>{failed}</DeleteResult>".encode(), {"Content-Type": "application/xml"})
    asked: list[Request] = []

    def on(request: Request):
        if request.operation == "POST ?delete":
            asked.append(request)
            return told if len(asked) == 1 else None
        return None

    faulty.on(on)
    store.delete(["a/0", "a/1", "a/2"])
    assert [b"a/0" in request.body for request in asked] == [True, False]
    assert [info.key for info in store.list("a/")] == ["a/0", "a/2"]  # the proxy swallowed those of the first round


def test_keys_that_may_not_be_deleted_are_told(faulty, store):
    failed = "<Error><Key>a/1</Key><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
    faulty.always(Answer(200, f"<DeleteResult>{failed}</DeleteResult>".encode()), of="POST ?delete")
    with pytest.raises(Misconfigured, match="s3:DeleteObject"):
        store.delete(["a/1"])


def test_the_line_says_what_somebody_has_to_do(faulty, store, buckets):
    denied = "User: arn:aws:sts::123456789012:assumed-role/worker/i-0 is not authorized to perform: s3:GetObject"
    for answer, says in (
        (s3_error(403, "AccessDenied", denied), r"assumed-role/worker/i-0 may not s3:GetObject.*policy"),
        (s3_error(400, "ExpiredToken", "The provided token has expired."), "credentials have expired; renew them"),
        (s3_error(403, "InvalidAccessKeyId", "does not exist"), "does not accept the credentials"),
        (s3_error(403, "RequestTimeTooSkewed", "too large"), "clock"),
        (s3_error(400, "WhoKnows", "a reason\nof two lines"), "refuses it: WhoKnows: a reason of two lines"),
    ):
        faulty.always(answer, of="GET")
        with pytest.raises(Misconfigured, match=says) as caught:
            store.get("a")
        assert buckets[1] in line(caught)


def test_a_bucket_that_is_elsewhere_or_nowhere(faulty, store, clients, buckets):
    moved = s3_error(400, "AuthorizationHeaderMalformed", "expecting", "<Region>us-west-2</Region>")
    faulty.always(moved)
    with pytest.raises(Misconfigured, match=r"it is in region us-west-2; set aws\.region"):
        store.get("a")
    faulty.first()
    gone = S3Store(clients, input_bucket="never-was", output_bucket="never-was")
    for use in (lambda: gone.put("a", b""), lambda: gone.get("a"), lambda: list(gone.list(""))):
        with pytest.raises(Misconfigured, match=r"there is no such bucket.*tagfleet aws up"):
            use()
    with pytest.raises(Misconfigured, match=r"setting aws\.input_bucket is empty"):
        S3Store(clients, input_bucket="", output_bucket="b")


def test_messages_survive_what_fails_once(faulty, queue):
    for number, fault in enumerate((THROTTLED, sqs_error(500, "InternalFailure"), Reset(), Lost())):
        faulty.first(fault, of="SendMessageBatch")
        queue.send([str(number)])
    faulty.first(Reset(), of="ReceiveMessage")
    found = []
    while {delivery.body for delivery in found} != {"0", "1", "2", "3"}:
        found += queue.receive(10, 1)
    faulty.first(Lost(), of="DeleteMessageBatch")
    queue.delete(found)
    assert queue.depth().outstanding == 0


@pytest.mark.parametrize("operation", ["GetQueueUrl", "SendMessageBatch", "DeleteMessageBatch", "GetQueueAttributes"])
def test_an_answer_that_ends_early_is_no_answer(faulty, queue, operation):
    """It may have named messages that were not accepted."""
    faulty.first(Short(), of=operation)
    use = {
        "DeleteMessageBatch": lambda: queue.delete([Delivery("", "AQEB", 1, 0.0)]),
        "GetQueueAttributes": queue.depth,
    }.get(operation, lambda: queue.send(["a"]))
    with pytest.raises(Unavailable, match="safe to try again"):
        use()


def test_a_receive_whose_answer_ends_early_is_not_an_empty_queue(faulty, queue):
    queue.send(["a"])
    faulty.first(Short(), of="ReceiveMessage")
    with pytest.raises(Unavailable, match="safe to try again"):
        queue.receive(10, 0)


def test_entries_that_fail_are_sent_again_and_no_others(faulty, queue):
    sent: list[list[str]] = []

    def on(request: Request):
        if request.operation == "SendMessageBatch":
            entries = json.loads(request.body)["Entries"]
            sent.append([entry["MessageBody"] for entry in entries])
            if len(sent) == 1:
                return sqs_failed(["1", "3"], "InternalError", sender=False)
        return None

    faulty.on(on)
    queue.send(list("abcd"))
    assert sent == [list("abcd"), ["b", "d"]]


def test_what_is_never_taken_is_told_by_its_positions(faulty, queue):
    def on(request: Request):
        if request.operation == "SendMessageBatch" and b'"10"' in request.body:
            return sqs_failed(["10"], "InternalError", sender=False)
        return THROTTLED if request.operation == "SendMessageBatch" and b'"20"' in request.body else None

    faulty.on(on)
    with pytest.raises(PartialSend) as caught:
        queue.send([f"message {number}" for number in range(25)])
    assert caught.value.unsent == [10, *range(20, 25)]


def test_what_was_taken_before_the_queue_fell_silent_is_not_sent_again(faulty, queue):
    def on(request: Request):
        if request.operation != "SendMessageBatch":
            return None
        return sqs_failed(["1"], "InternalError", sender=False) if b'"0"' in request.body else THROTTLED

    faulty.on(on)
    with pytest.raises(PartialSend) as caught:
        queue.send(["0", "1"])
    assert caught.value.unsent == [1]
    assert "fewer requests" in str(caught.value.__cause__)


def test_a_receipt_that_counts_no_more_is_no_error(faulty, queue):
    queue.send(["a"])
    held = queue.receive(1, 1)
    faulty.first(sqs_failed(["0"], "ReceiptHandleIsInvalid", sender=True))
    queue.delete(held)
    faulty.first(sqs_failed(["0"], "AWS.SimpleQueueService.MessageNotInflight", sender=True))
    queue.set_visibility(held, 5)
    faulty.first(sqs_failed(["0"], "InternalError", sender=False), of="DeleteMessageBatch")
    queue.delete(held)
    assert queue.depth().outstanding == 0
    faulty.always(sqs_failed(["0"], "InternalError", sender=False), of="DeleteMessageBatch")
    with pytest.raises(Unavailable, match="refuses 1 of them"):
        queue.delete(held)


OUTDATED = [
    "InvalidParameterValueException",  # LocalStack
    "InvalidParameterValue",
    "AWS.SimpleQueueService.ReceiptHandleIsInvalid",
    "com.amazonaws.sqs#ReceiptHandleIsInvalid",
    "ReceiptHandleIsInvalidException",
    "com.amazonaws.sqs#MessageNotInflight",
    "MessageNotInFlight",
    "InvalidIdFormat",
]


@pytest.mark.parametrize("code", OUTDATED)
def test_a_lapsed_receipt_is_told_in_many_ways_and_asked_about_once(faulty, queue, code):
    """Of one receipt among others, and of a whole request: each of the others is then asked for by itself."""
    queue.send(["a", "b"])
    held = []
    while len(held) < 2:
        held += queue.receive(2, 1)
    faulty.always(sqs_failed(["0"], code, sender=True))
    queue.set_visibility(held[:1], 5)
    queue.delete(held[:1])
    asked = []

    def on(request: Request):
        asked.append(request.operation)
        lapsed = json.dumps(held[0].receipt).encode() in request.body
        return sqs_error(400, code, "Value x for parameter ReceiptHandle is invalid.") if lapsed else None

    faulty.on(on)
    queue.delete(held)
    assert asked == ["DeleteMessageBatch"] * 3
    assert queue.depth().outstanding == 1


def test_a_queue_that_is_not_there_or_not_ours(faulty, clients, queue):
    with pytest.raises(Misconfigured, match=r"no such queue.*aws\.deployment.*tagfleet aws up"):
        SqsQueue(clients, "never-was", "jobs", visibility_timeout_s=30).receive(1, 0)
    faulty.always(sqs_error(403, "AccessDeniedException", "no"), of="SendMessageBatch")
    with pytest.raises(Misconfigured, match="may not sqs:SendMessage; add that to the policy"):
        queue.send(["a"])


def test_redrive_loses_no_letter_that_cannot_be_sent(cloud, faulty, queue):
    queue.send(list("ab"))
    for _ in range(3):
        queue.set_visibility(queue.receive(10, 1), 0)
    assert queue.receive(10, 0) == []
    faulty.always(THROTTLED, of="SendMessageBatch")
    with pytest.raises(Unavailable):
        queue.redrive(10)
    assert queue.dead_letters().depth().visible == 2
    faulty.first()
    assert queue.redrive(10) == 2


def test_an_object_that_is_gone_may_look_like_one_that_is_forbidden(faulty, clients, buckets):
    """S3 answers 403 for both to who may not list the bucket, as workers may not that of somebody else."""
    faulty.first(s3_error(403, "AccessDenied", "Access Denied"))
    with pytest.raises(Unreadable, match=r"s3:GetObject.*, or it is gone$"):
        S3Source(clients).read(f"s3://{buckets[0]}/gone.jpg", 100)
