"""Objects of any bucket over S3's protocol: any key, one request each, and sentences for what cannot be read."""

from __future__ import annotations

import pytest

from core.aws.sources import S3Source
from core.domain.notifications import parse_message
from core.errors import NotFound, Unreadable
from tests.cloud import REGION, Cloud, clients_of
from tests.faulty import Answer, Faulty

KEYS = ["p/a b.jpg", "p/a+b.jpg", "p/50%25.jpg", "p/ü/日本.jpg", "p/q&a=?#.jpg", "p/x/../y.jpg", "p//z.jpg"]


@pytest.fixture
def source(cloud: Cloud) -> S3Source:
    return S3Source(cloud.clients)


@pytest.fixture
def bucket(cloud: Cloud) -> str:
    name = cloud.name("photos")
    cloud.client("s3").create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    return name


def put(cloud: Cloud, bucket: str, *keys: str) -> None:
    s3 = cloud.client("s3")
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())


def test_any_key_is_listed_and_read(cloud: Cloud, source: S3Source, bucket: str) -> None:
    put(cloud, bucket, *KEYS, "q/other.jpg")
    listed = [info.key for info in source.list(f"s3://{bucket}/p/")]
    assert listed == sorted(KEYS, key=str.encode)
    assert [source.read(f"s3://{bucket}/{key}", 100).data.decode() for key in listed] == listed
    assert [info.key for info in source.list(f"s3://{bucket}/p/", listed[2])] == listed[3:]


def test_a_large_one_is_not_begun(cloud: Cloud, source: S3Source, bucket: str) -> None:
    put(cloud, bucket, "12345")
    assert source.read(f"s3://{bucket}/12345", 5).data == b"12345"
    with pytest.raises(Unreadable, match="larger than"):
        source.read(f"s3://{bucket}/12345", 4)


def test_what_is_not_there_is_not_found(source: S3Source, bucket: str) -> None:
    for uri in (f"s3://{bucket}/gone", "s3://there-is-no-such-bucket/gone"):
        with pytest.raises(NotFound):
            source.read(uri, 1)
    with pytest.raises(NotFound):
        list(source.list("s3://there-is-no-such-bucket/"))


def test_a_buckets_own_notification_becomes_the_job_that_reads_the_file(
    cloud: Cloud, source: S3Source, bucket: str
) -> None:
    sqs, s3 = cloud.client("sqs"), cloud.client("s3")
    url = sqs.create_queue(QueueName=cloud.name("jobs"))["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    rule = {"QueueArn": arn, "Events": ["s3:ObjectCreated:*"]}
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={"QueueConfigurations": [rule]})
    put(cloud, bucket, "images/my trip/a+b ü.jpg")
    bodies: list[str] = []
    while len(bodies) < 2:
        received = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=2)
        bodies += [message["Body"] for message in received.get("Messages", ())]
    asked = [parse_message(body, "resnet50") for body in bodies]
    assert [len(found.jobs) for found in asked] == [0, 1], "the test event, then the file"
    (job,) = asked[1].jobs
    assert source.read(job.key, 100).data.decode() == "images/my trip/a+b ü.jpg"


def test_a_key_that_is_no_text_is_that_of_no_object(source: S3Source, bucket: str) -> None:
    """JSON may hold half a character."""
    with pytest.raises(NotFound):
        source.read(f"s3://{bucket}/\ud83d.jpg", 100)


@pytest.mark.parametrize("bucket", ["my photos", "arn:aws:s3:eu-central-1:1:accesspoint", "Fotos-für-alle"])
def test_a_name_that_no_bucket_can_have_is_that_of_none(source: S3Source, bucket: str) -> None:
    """A list of addresses may hold anything, and a job that raises what nobody expects would end one worker after
    the other."""
    with pytest.raises(NotFound):
        source.read(f"s3://{bucket}/a.jpg", 100)
    with pytest.raises(NotFound):
        list(source.list(f"s3://{bucket}/"))


def test_a_key_that_may_not_be_used_differs_from_an_image_that_may_not_be_read() -> None:
    said = "<Error><Code>AccessDenied</Code><Message>User: arn:aws:sts::1:role/w is not authorized to perform: {}"
    with Faulty("http://127.0.0.1:1").running() as proxy:
        source = S3Source(clients_of(proxy.endpoint, attempts=1))
        for action, line in {"kms:Decrypt": "give --source-key", "s3:GetObject": "s3:GetObject on its bucket"}.items():
            proxy.always(Answer(403, f"{said.format(action)}</Message></Error>".encode()))
            with pytest.raises(Unreadable, match=line):
                source.read("s3://archive/cat.jpg", 100)
