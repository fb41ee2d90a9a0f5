"""The implementations on AWS for the contract suites, against the server of `tests.cloud`."""

from __future__ import annotations

import json
import time
from functools import cache, cached_property

from core.aws.clients import Clients
from core.aws.queue import DEAD, SqsQueue
from core.aws.store import S3Store
from tests.cloud import REGION, Cloud, clients_of


class S3Stores:
    needs = ("cloud",)
    examples = 4

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def open(self) -> S3Store:
        return self._open(self._cloud.clients)

    def unavailable(self) -> S3Store:
        return self._open(_nobody())

    def _open(self, clients: Clients) -> S3Store:
        return S3Store(clients, input_bucket=self._buckets[0], output_bucket=self._buckets[1])

    @cached_property
    def _buckets(self) -> tuple[str, str]:
        return made_bucket(self._cloud, "input"), made_bucket(self._cloud, "output")


class SecondS3Stores(S3Stores):
    needs = ("second_cloud",)


class SqsQueues:
    visibility_timeout_s = 500.0
    max_receives = 3
    pauses = (200, 400, 1000)
    hidings = (0, 300, 1100)
    exact = False
    needs = ("cloud",)
    examples = 4

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._ahead_s = 0.0
        self._deployment = cloud.name("tagfleet")
        self._made: set[str] = set()

    def open(self, name: str) -> SqsQueue:
        if name not in self._made:
            made_queue(self._cloud, f"{self._deployment}-{name}", self.max_receives)
            self._made.add(name)
        return self._open(self._cloud.clients, name)

    def unavailable(self) -> SqsQueue:
        return self._open(_nobody(), "jobs")

    def now(self) -> float:
        return time.time() + self._cloud.ahead_s

    def pass_time(self, seconds: float) -> None:
        self._cloud.pass_time(seconds)

    def _open(self, clients: Clients, name: str) -> SqsQueue:
        return SqsQueue(
            clients,
            self._deployment,
            name,
            visibility_timeout_s=self.visibility_timeout_s,
            dead_every_s=0,
            redrive_wait_s=0,
            clock=self.now,
        )


@cache
def _nobody() -> Clients:
    """Clients of a service that is not there. Made once: to make one takes boto3 a third of a second."""
    return clients_of("http://127.0.0.1:9", attempts=1)


def made_bucket(cloud: Cloud, stem: str) -> str:
    name = cloud.name(stem)
    cloud.client("s3").create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    return name


def made_queue(cloud: Cloud, name: str, max_receives: int) -> None:
    sqs = cloud.client("sqs")
    dead = sqs.create_queue(QueueName=name + DEAD)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": max_receives})
    sqs.create_queue(QueueName=name, Attributes={"RedrivePolicy": policy})
