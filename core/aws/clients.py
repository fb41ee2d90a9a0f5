"""Creates boto3's clients, and with their options obstore's for the objects of S3. Counts all requests."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import boto3
from botocore.config import Config
from botocore.exceptions import IncompleteReadError, NoCredentialsError
from botocore.utils import parse_timestamp

from core.aws.errors import translate_errors
from core.aws.objects import Objects

if TYPE_CHECKING:
    from botocore.awsrequest import AWSResponse
    from botocore.credentials import ReadOnlyCredentials
    from botocore.model import OperationModel
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
        self._made: dict[tuple[str, str], Any] = {}
        self._making = threading.RLock()
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

    def of(self, service: str, region: str = "") -> Any:
        """Return the client of any service. Raises Misconfigured if region or profile are missing."""
        with self._making:
            if (service, region) not in self._made:
                self._made[service, region] = self._make(service, region or self._region)
            return self._made[service, region]

    @property
    def region(self) -> str:
        """The region that requests go to."""
        return self.s3.meta.region_name

    @cached_property
    def objects(self) -> Objects:
        """Whole objects of S3, by obstore."""
        return Objects(self)

    @property
    def config(self) -> Any:
        """botocore's options, which obstore's requests follow too: time-outs, connections, attempts, name."""
        return self._config

    @property
    def ca_bundle(self) -> str:
        """The file or folder of certificates that is trusted instead of the usual ones; "" for those."""
        own = self._opened()._session.get_config_variable("ca_bundle")
        return str(own or os.environ.get("REQUESTS_CA_BUNDLE") or "")

    def credentials(self) -> ReadOnlyCredentials:
        """Return the credentials, renewed by boto3 if they are about to expire. Raises botocore's errors."""
        found = self._opened().get_credentials()
        if found is None:
            raise NoCredentialsError
        return found.get_frozen_credentials()

    def s3_in(self, region: str) -> S3Client:
        """Return a client of S3 in another region; "" for that of `s3`."""
        return cast("S3Client", self.of("s3", region))

    def count(self, operation: str) -> None:
        """Count a request, named `s3.GetObject`."""
        with self._lock:
            self._requests[operation] += 1

    def requests(self) -> Mapping[str, int]:
        """Return how often each operation was requested so far, retries included: `{"s3.PutObject": 3}`."""
        with self._lock:
            return dict(self._requests)

    def _opened(self) -> boto3.Session:
        """Return the session. Reading profiles and finding credentials is done once."""
        if self._session is None:
            with self._making:
                self._session = self._session or boto3.Session()
        return self._session

    def _make(self, service: str, region: str | None) -> Any:
        with translate_errors(f"use {service.upper()}"):
            session = self._opened()
            # botocore guesses the format of each time. Without that, parsing a thousand instances or keys takes half as
            # long.
            factory = session._session.get_component("response_parser_factory")
            factory.set_parser_defaults(timestamp_parser=_time)
            config = self._config
            if service == "s3":  # boto3 would presign with the outdated version 2 at some endpoints
                config = config.merge(Config(signature_version="s3v4"))
            client = session.client(  # type: ignore[call-overload]  # any of boto3's services
                service, region_name=region, endpoint_url=self._endpoint, config=config
            )
        if service == "s3":
            # By default boto3 signs URLs for us-east-1's host name, which redirects (307) for a new bucket in another
            # region: a browser's form and a builder's report would be lost. Other S3 servers keep their own address.
            client.meta.config.s3 = {**(client.meta.config.s3 or {}), "addressing_style": "virtual"}
        client.meta.events.register("before-send", self._count)
        client.meta.events.register("after-call", _check_length)
        return client

    def _count(self, event_name: str, **_: object) -> None:
        """Count an attempt. botocore calls this before each; returning None lets the request go out."""
        self.count(event_name.removeprefix("before-send."))


def _check_length(http_response: AWSResponse, model: OperationModel, **_: object) -> None:
    """Raise IncompleteReadError for an answer shorter than its head announced, which botocore takes for a whole one.

    SQS names in its answers the messages that it did not accept.
    """
    announced = http_response.headers.get("Content-Length")
    if announced is None or model.has_streaming_output or model.http.get("method") == "HEAD":
        return
    if (came := len(http_response.content)) < int(announced) and "Content-Encoding" not in http_response.headers:
        raise IncompleteReadError(actual_bytes=came, expected_bytes=int(announced))
