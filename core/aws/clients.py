"""Creates boto3's clients: time-outs, retries, connection pools, and a count of requests."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import boto3
from botocore.config import Config
from botocore.utils import parse_timestamp

from core.aws.errors import translate_errors

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient


LONG_POLL_S = 20
"""The longest that SQS lets a receive wait."""


def _time(value: Any) -> datetime:
    """Parse a time in an answer of AWS: ISO 8601 here, any other form by botocore."""
    try:
        read = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return parse_timestamp(value)
    return read if read.tzinfo else read.replace(tzinfo=UTC)


class Clients:
    """One client per service, made at its first use and shared by all threads, as boto3 allows.

    Region, credentials and endpoint come from boto3's chain (environment, profile, instance's role); `region` overrides
    the chain's. `threads` is the number of concurrent requests. `read_s` is how long an answer may stay silent, and
    must exceed the longest poll. `endpoint` is for tests; without it, AWS_ENDPOINT_URL of the chain applies.
    """

    def __init__(
        self,
        region: str = "",
        *,
        session: boto3.Session | None = None,
        endpoint: str | None = None,
        threads: int = 64,
        connect_s: float = 5.0,
        read_s: float = LONG_POLL_S + 15.0,
        attempts: int = 4,
    ) -> None:
        self._session = session
        self._region = region or os.environ.get("AWS_REGION")  # unlike AWS's other SDKs, boto3 does not read it
        self._endpoint = endpoint
        self._config = Config(
            connect_timeout=connect_s,
            read_timeout=read_s,
            max_pool_connections=threads,
            # Adaptive: after AWS throttles once, this client slows down by itself.
            retries={"mode": "adaptive", "total_max_attempts": attempts},
            user_agent_extra="tagfleet",
            tcp_keepalive=True,
        )
        self._made: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._requests: Counter[str] = Counter()

    @property
    def s3(self) -> S3Client:
        return cast("S3Client", self.of("s3"))

    @property
    def sqs(self) -> SQSClient:
        return cast("SQSClient", self.of("sqs"))

    @property
    def ec2(self) -> EC2Client:
        return cast("EC2Client", self.of("ec2"))

    @property
    def cloudwatch(self) -> CloudWatchClient:
        return cast("CloudWatchClient", self.of("cloudwatch"))

    @property
    def cloudformation(self) -> CloudFormationClient:
        return cast("CloudFormationClient", self.of("cloudformation"))

    def of(self, service: str) -> Any:
        """Return the client of any service. Raises Misconfigured if region or profile are missing."""
        with self._lock:
            if service not in self._made:
                self._made[service] = self._make(service)
            return self._made[service]

    @property
    def region(self) -> str:
        """The region that requests go to."""
        return self.s3.meta.region_name

    def requests(self) -> Mapping[str, int]:
        """Return how often each operation was requested so far, retries included: `{"s3.PutObject": 3}`."""
        with self._lock:
            return dict(self._requests)

    def _make(self, service: str) -> Any:
        with translate_errors(f"use {service.upper()}"):
            session = self._session or boto3.Session()
            self._session = session  # reading profiles and finding credentials is done once
            # botocore guesses the format of each time. Without that, parsing a thousand instances or keys takes half as
            # long.
            factory = session._session.get_component("response_parser_factory")
            factory.set_parser_defaults(timestamp_parser=_time)
            config = self._config
            if service == "s3":  # boto3 would presign with the outdated version 2 at some endpoints
                config = config.merge(Config(signature_version="s3v4"))
            client = session.client(  # type: ignore[call-overload]  # any of boto3's services
                service, region_name=self._region, endpoint_url=self._endpoint, config=config
            )
        if service == "s3":
            # By default boto3 signs URLs for us-east-1's host name, which redirects (307) for a new bucket in another
            # region: a browser's form and a builder's report would be lost. Other S3 servers keep their own address.
            client.meta.config.s3 = {**(client.meta.config.s3 or {}), "addressing_style": "virtual"}
        client.meta.events.register("before-send", self._count)
        return client

    def _count(self, event_name: str, **_: object) -> None:
        """Count an attempt. botocore calls this before each; returning None lets the request go out."""
        with self._lock:
            self._requests[event_name.removeprefix("before-send.")] += 1
