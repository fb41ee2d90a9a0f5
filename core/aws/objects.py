"""Gets and puts whole objects of S3 with obstore, for a tenth of the processor time that boto3 takes.

1. Requests go through obstore if it can address the key. It forbids some that S3 allows (`a//b`, `/a`, `a/../b`), and
   cuts a `/` off the end: those, and what else it cannot do, are left to boto3.
2. Errors are botocore's, whichever library made the request.
3. This module is the one that tries again: as often as `Clients` says, after pauses, more slowly once throttled.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import obstore
from botocore import exceptions as boto
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from obstore.store import S3Store

from core.aws.buckets import Access, Bucket, Buckets
from core.aws.errors import ELSEWHERE, THROTTLED, BrokenOff, code_of, status_of
from core.aws.obstore_errors import RAISED, Failure, read_error
from core.aws.request_rate import RequestRate
from core.storage.ports import Condition, Etag, IfAbsent
from core.util.backoff import compute_backoff, retry

T = TypeVar("T")

DEFAULT_TYPE = "application/octet-stream"
_CHUNK = 1 << 20
_SENT_AT_ONCE = 1 << 20
"""The most bytes that obstore puts. Its limit for silence includes the time for sending, which boto3's does not."""
_READS = 5
_READ_PAUSE_S = 0.2
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 20.0
_PASSING = frozenset({"RequestTimeout", "RequestTimeoutException", "PriorRequestNotComplete"})
_PASSING_STATUS = frozenset({429, 500, 502, 503, 504})
_NO_ANSWER = (
    boto.ConnectionError,
    boto.ConnectionClosedError,
    boto.ReadTimeoutError,
    boto.ConnectTimeoutError,
    boto.EndpointConnectionError,
)


@dataclass(frozen=True, slots=True)
class Found:
    """The head of an object. Call `read` once for its bytes, and `leave` in any case."""

    size: int
    etag: Etag
    content_type: str
    version: str
    read: Callable[[], bytes]
    """Raises botocore's errors: a connection that breaks off is not tried again."""
    leave: Callable[[], object]


class Objects:
    """Safe for several threads. Raises botocore's errors."""

    def __init__(self, clients: Access, *, rest: Callable[[float], object] = time.sleep) -> None:
        self._clients = clients
        self._buckets = Buckets(clients)
        self._rest = rest
        self._request_rate = RequestRate(rest=rest)

    def read(self, bucket: str, key: str, look: Callable[[Found], object], version: str = "") -> tuple[Found, bytes]:
        """Get an object whole, and again if its bytes break off. Raises BrokenOff if they always do.

        `look` is called once, with the head. It may wait, or raise to leave the bytes unread.
        """
        looked = False

        def once() -> tuple[Found, bytes]:
            nonlocal looked
            found = self.get(bucket, key, version)
            try:
                if not looked:
                    look(found)
                    looked = True
                return found, found.read()
            except BotoCoreError as error:
                raise BrokenOff(error=error) from error
            finally:
                found.leave()

        return retry(once, BrokenOff, tries=_READS, base_s=_READ_PAUSE_S, pause=self._rest)

    def get(self, bucket: str, key: str, version: str = "") -> Found:
        """Ask for an object, or for one version of it, and return its head."""
        if (opened := self._open(bucket, key)) is None:
            return self._get_by_boto3(bucket, key, version)
        options: obstore.GetOptions = {"version": version} if version else {}
        try:
            result = self._ask("GetObject", bucket, key, opened, lambda store: obstore.get(store, key, options=options))
        except ResponseParserError:  # obstore wants headers that another S3 server may not send, or in another form
            return self._get_by_boto3(bucket, key, version)
        meta = result.meta
        size = meta["size"]
        return Found(
            size,
            _etag(meta["e_tag"]),
            result.attributes.get("Content-Type", DEFAULT_TYPE),
            meta["version"] or "",
            lambda: _read(result, key, size),
            _nothing,
        )

    def put(
        self,
        bucket: str,
        key: str,
        data: bytes,
        content_type: str,
        condition: Condition | None = None,
        metadata: Mapping[str, str] = {},
    ) -> Etag:
        """Put an object in one request and return its etag. A ClientError tells after how many tries: `attempts_of`."""
        opened = self._open(bucket, key) if len(data) <= _SENT_AT_ONCE else None
        if opened is None:
            more = {"ContentType": content_type, "Metadata": dict(metadata), **headers_of(condition)}
            return _etag(self._clients.s3.put_object(Bucket=bucket, Key=key, Body=data, **more).get("ETag"))
        mode = _mode(condition)
        attributes: Any = {"Content-Type": content_type, **metadata}
        answer = self._ask(
            "PutObject",
            bucket,
            key,
            opened,
            lambda store: obstore.put(store, key, data, attributes=attributes, mode=mode, use_multipart=False),
        )
        return _etag(answer["e_tag"])

    def _open(self, bucket: str, key: str) -> Bucket | None:
        return self._buckets.open(bucket) if is_plain(key) else None

    def _ask(self, operation: str, name: str, key: str, bucket: Bucket, ask: Callable[[S3Store], T]) -> T:
        """Call `ask` until the answer is no error that passes. Raises the last error."""
        tries = int(self._clients.config.retries["total_max_attempts"])
        tried, moved = 0, False
        while True:
            self._request_rate.wait()
            self._clients.count(f"s3.{operation}")
            try:
                return _interruptible(partial(ask, bucket.store))
            except RAISED as error:
                failure = read_error(error, operation, key, bucket.place.proxy)
                tried += 1
                if isinstance(failure, ClientError):
                    failure.response["ResponseMetadata"]["RetryAttempts"] = tried - 1
                    if not moved and _may_be_elsewhere(failure) and self._buckets.move(name, bucket, failure):
                        bucket, tried, moved = self._buckets.open(name) or bucket, tried - 1, True
                        continue
                if tried >= tries or not self._passes(failure):
                    raise failure from error
            self._rest(compute_backoff(tried - 1, base_s=_FIRST_PAUSE_S, cap_s=_LONGEST_PAUSE_S, jitter=1.0))

    def _passes(self, failure: Failure) -> bool:
        """Return whether another try may help. Slows all requests down if S3 asks for fewer."""
        if not isinstance(failure, ClientError):
            return isinstance(failure, _NO_ANSWER) and not isinstance(failure, boto.SSLError)
        if (code := code_of(failure)) in THROTTLED or status_of(failure) == 429:
            self._request_rate.slow_down()
            return True
        return code in _PASSING or status_of(failure) in _PASSING_STATUS

    def _get_by_boto3(self, bucket: str, key: str, version: str) -> Found:
        more: Any = {"VersionId": version} if version else {}
        answer = self._clients.s3.get_object(Bucket=bucket, Key=key, **more)
        body = answer["Body"]
        if "ContentLength" not in answer:
            raise ResponseParserError("an object of unknown length")
        return Found(
            answer["ContentLength"],
            _etag(answer.get("ETag")),
            answer.get("ContentType", DEFAULT_TYPE),
            answer.get("VersionId", ""),
            body.read,
            body.close,
        )


def is_plain(key: str) -> bool:
    """Return whether obstore addresses exactly this key: see `object_store::path::Path`."""
    return all(segment not in ("", ".", "..") for segment in key.split("/")) and not any(
        character < " " or character == "\x7f" for character in key
    )


def headers_of(condition: Condition | None) -> dict[str, Any]:
    """Return the condition as boto3's parameters."""
    if condition is None:
        return {}
    return {"IfNoneMatch": "*"} if isinstance(condition, IfAbsent) else {"IfMatch": condition.etag}


def _etag(said: str | None) -> Etag:
    """Return the etag. Raises ResponseParserError if there is none: a proxy's page of HTML is no object."""
    if not said:
        raise ResponseParserError("an answer without ETag")
    return Etag(said)


def _mode(condition: Condition | None) -> Any:
    if condition is None:
        return "overwrite"
    return "create" if isinstance(condition, IfAbsent) else {"e_tag": condition.etag}


def _may_be_elsewhere(failure: ClientError) -> bool:
    """Return whether the bucket may be in another region.

    obstore follows a redirect that names its target, and leaves out the signature there. That is then denied.
    """
    return code_of(failure) in ELSEWHERE or status_of(failure) in (301, 302, 307, 400, 403)


def _read(result: obstore.GetResult, key: str, size: int) -> bytes:
    """Return the body, copied once as it arrives, so that a large object is never in memory twice."""
    try:
        return _interruptible(lambda: bytes(result.bytes()) if size <= _CHUNK else _collect(result))
    except RAISED as error:
        raise _body_error(read_error(error, "GetObject", key), error) from error


def _collect(result: obstore.GetResult) -> bytes:
    body = io.BytesIO()
    for chunk in result.stream(_CHUNK):
        body.write(chunk)
    return body.getvalue()


def _interruptible(request: Callable[[], T]) -> T:
    """Make a request of obstore. In the main thread, signals are handled while it is under way.

    Python handles signals in its main thread, which obstore would hold until the answer comes, or silence ends it.
    """
    if threading.current_thread() is not threading.main_thread():
        return request()
    outcome: Future[T] = Future()

    def make() -> None:
        try:
            outcome.set_result(request())
        except BaseException as error:  # noqa: BLE001  # raised again by the thread that waits
            outcome.set_exception(error)

    threading.Thread(target=make, daemon=True).start()
    return outcome.result()


def _body_error(failure: Failure, error: Exception) -> BotoCoreError:
    return failure if isinstance(failure, BotoCoreError) else boto.ResponseStreamingError(error=error)


def _nothing() -> None:
    """Do nothing: a connection whose body is not wanted is closed when the answer is forgotten."""
