"""An object store in two S3 buckets: one for input (uploads, dropped files, thumbnails), one for everything else.

Decision 12 lists the properties of S3 that it relies on.
"""

from __future__ import annotations

import heapq
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from botocore.exceptions import ClientError

from core.aws.clients import Clients
from core.aws.errors import attempts_of, code_of, translate_error, translate_errors
from core.aws.multipart import PART, put_parts, read_part
from core.aws.objects import DEFAULT_TYPE, Found, headers_of
from core.errors import Misconfigured, NotFound, PreconditionFailed, Unavailable
from core.storage import layout
from core.storage.keys import segments_of
from core.storage.ports import Admit, Blob, Condition, Etag, ObjectInfo, UploadForm
from core.util.backoff import retry

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

T = TypeVar("T")

_DELETED_AT_ONCE = 1000
_TRIES = 5
_FIRST_PAUSE_S = 0.2
_MISSING = ("NoSuchKey", "404")
_LOST = ("PreconditionFailed", "412", "NoSuchUpload", *_MISSING)
_NONCE = "put"


class S3Store:
    """Safe for several threads and processes. A bad key raises ValueError.

    An etag identifies content, not a moment: putting the same bytes again does not change it. A put holds at most one
    part (8 MiB) of a stream in memory, and a stream may have 10,000 parts.
    """

    def __init__(self, clients: Clients, *, input_bucket: str, output_bucket: str) -> None:
        """Raises Misconfigured if a bucket has no name."""
        for name, bucket in (("input_bucket", input_bucket), ("output_bucket", output_bucket)):
            if not bucket:
                raise Misconfigured(
                    f"setting aws.{name} is empty; `tagfleet aws up` makes the buckets and prints their names"
                )
        self._clients = clients
        self._input = input_bucket
        self._output = output_bucket
        self._pools: dict[int, ThreadPoolExecutor] = {}

    def put(
        self,
        key: str,
        data: bytes | BinaryIO,
        *,
        content_type: str = DEFAULT_TYPE,
        condition: Condition | None = None,
    ) -> Etag:
        bucket = self._bucket(key)
        head = data if isinstance(data, bytes) else read_part(data)
        if condition is None and (isinstance(data, bytes) or len(head) < PART):
            with translate_errors(f"put objects into bucket {bucket}", "s3"):
                return self._clients.objects.put(bucket, key, head, content_type)
        nonce = secrets.token_hex(8)  # identifies our own object if the answer is lost
        if isinstance(data, bytes) or len(head) < PART:
            whole = partial(self._clients.objects.put, bucket, key, head, content_type, condition, {_NONCE: nonce})
            return self._write(bucket, key, nonce, whole, tries=_TRIES)
        about: dict[str, Any] = {"Bucket": bucket, "Key": key}
        kind: dict[str, Any] = {"ContentType": content_type, "Metadata": {_NONCE: nonce}}
        parts = partial(put_parts, self._s3, about, kind, head, partial(read_part, data), headers_of(condition))
        return self._write(bucket, key, nonce, parts, tries=1)  # a stream can't be read again

    def put_all(self, objects: Mapping[str, bytes], *, content_type: str = DEFAULT_TYPE) -> None:
        if len(objects) <= 1:
            for key, data in objects.items():
                self.put(key, data, content_type=content_type)
            return
        pool = self._threads()
        puts = [pool.submit(self.put, key, data, content_type=content_type) for key, data in objects.items()]
        wait(puts)  # none may be under way when the caller puts them again
        for done in puts:
            done.result()

    def get(self, key: str, admit: Admit | None = None) -> Blob:
        bucket = self._bucket(key)
        look = partial(_admit, admit)
        with translate_errors(f"get objects from bucket {bucket}", "s3"):
            found, data = _find(key, partial(self._clients.objects.read, bucket, key, look))
        return Blob(data, found.etag, found.content_type)

    def copy(self, source: str, target: str) -> Etag:
        """Copy an object of up to 5 GB, S3's limit for one copy request."""
        bucket, place = self._bucket(source), self._bucket(target)
        with translate_errors(f"copy objects from bucket {bucket} to bucket {place}", "s3"):
            copy = partial(self._s3.copy_object, Bucket=place, Key=target, CopySource={"Bucket": bucket, "Key": source})
            return Etag(_find(source, copy)["CopyObjectResult"]["ETag"])

    def list(self, prefix: str, start_after: str = "") -> Iterator[ObjectInfo]:
        here = [
            bucket
            for bucket, known in ((self._input, self._may_be_input(prefix)), (self._output, not _is_input(prefix)))
            if known
        ]
        listings = [self._list(bucket, prefix, start_after) for bucket in dict.fromkeys(here)]
        return listings[0] if len(listings) == 1 else heapq.merge(*listings, key=lambda info: info.key)

    def delete(self, keys: Sequence[str]) -> None:
        by_bucket: dict[str, list[str]] = {}
        for key in dict.fromkeys(keys):
            by_bucket.setdefault(self._bucket(key), []).append(key)
        for bucket, own in by_bucket.items():
            for start in range(0, len(own), _DELETED_AT_ONCE):
                self._delete(bucket, own[start : start + _DELETED_AT_ONCE])

    def upload_form(self, key: str, *, content_type: str, max_bytes: int, expires_s: int) -> UploadForm | None:
        """Return a signed form. S3 itself refuses another key or type, an empty or larger file, and late uploads."""
        bucket = self._bucket(key)
        with translate_errors(f"sign an upload into bucket {bucket}", "s3"):
            form = self._s3.generate_presigned_post(
                bucket,
                key,
                Fields={"Content-Type": content_type},
                Conditions=[{"Content-Type": content_type}, ["content-length-range", 1, max_bytes]],
                ExpiresIn=expires_s,
            )
        return UploadForm(form["url"], dict(form["fields"]))

    # --- requests -----------------------------------------------------------------------------

    def _threads(self) -> ThreadPoolExecutor:
        """Return the threads of `put_all`. More start only if all are waiting for an answer; none survives a fork."""
        process = os.getpid()
        if process not in self._pools:
            self._pools = {process: ThreadPoolExecutor(self._clients.config.max_pool_connections, "put")}
        return self._pools[process]

    @property
    def _s3(self) -> S3Client:
        return self._clients.s3

    def _bucket(self, key: str) -> str:
        """Return the bucket of `key`. Raises ValueError for an invalid key."""
        segments_of(key)
        return self._input if _is_input(key) else self._output

    def _may_be_input(self, prefix: str) -> bool:
        return any(prefix.startswith(known) or known.startswith(prefix) for known in layout.INPUT)

    def _write(self, bucket: str, key: str, nonce: str, write: Callable[[], Etag], tries: int) -> Etag:
        """Call `write` and return the etag of the new object. Raises PreconditionFailed if its condition fails."""
        again = False

        def once() -> Etag:
            nonlocal again
            try:
                return write()
            except ClientError as error:
                again = again or attempts_of(error) > 1
                if code_of(error) == "ConditionalRequestConflict":
                    raise _Conflict from error
                if code_of(error) not in _LOST:
                    raise
                # A request whose answer was lost is repeated; the repeat then fails on our own first write.
                etag = self._own(bucket, key, nonce) if again else None
                if etag is not None:
                    return etag
                if code_of(error) == "NoSuchUpload":
                    raise
                raise PreconditionFailed(key) from error

        doing = f"put objects into bucket {bucket}"
        with translate_errors(doing, "s3"):
            try:
                return retry(once, _Conflict, tries=tries, base_s=_FIRST_PAUSE_S)
            except _Conflict as error:
                raise Unavailable(f"cannot {doing}: others write {key!r} at the same time; try again") from error

    def _own(self, bucket: str, key: str, nonce: str) -> Etag | None:
        try:
            there = self._s3.head_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if code_of(error) in _MISSING:
                return None
            raise
        return Etag(there["ETag"]) if there["Metadata"].get(_NONCE) == nonce else None

    def _list(self, bucket: str, prefix: str, start_after: str) -> Iterator[ObjectInfo]:
        more: dict[str, Any] = {"StartAfter": start_after} if start_after else {}
        while True:
            with translate_errors(f"list bucket {bucket}", "s3"):
                page = self._s3.list_objects_v2(Bucket=bucket, Prefix=prefix, **more)
            for found in page.get("Contents", []):
                if self._input == self._output or _is_input(found["Key"]) == (bucket == self._input):
                    yield ObjectInfo(
                        found["Key"], found["Size"], Etag(found["ETag"]), found["LastModified"].timestamp()
                    )
            if not page["IsTruncated"]:
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def _delete(self, bucket: str, keys: Sequence[str]) -> None:
        """Delete the keys, and repeat the request for keys that S3 could not delete now; it reports each."""
        doing = f"delete objects from bucket {bucket}"
        left = list(keys)

        def once() -> None:
            nonlocal left
            with translate_errors(doing, "s3"):
                answer = self._s3.delete_objects(
                    Bucket=bucket, Delete={"Objects": [{"Key": key} for key in left], "Quiet": True}
                )
            if not (errors := answer.get("Errors")):
                return
            failed = {error["Key"] for error in errors}
            left = [key for key in left if key in failed]
            said: Any = {"Code": errors[0]["Code"], "Message": errors[0]["Message"]}
            why = translate_error(ClientError({"Error": said}, "DeleteObjects"), doing, "s3")
            raise why if isinstance(why, Misconfigured) else _SomeLeft(why)

        try:
            retry(once, _SomeLeft, tries=_TRIES, base_s=_FIRST_PAUSE_S)
        except _SomeLeft as error:
            raise error.args[0] from error


class _SomeLeft(Exception):
    """S3 did not delete some keys of a request; the argument is our error for the first of them."""


class _Conflict(Exception):
    """Another write of the same key was under way, and S3 took neither."""


def _admit(admit: Admit | None, found: Found) -> None:
    if admit is not None:
        admit(found.size)


def _is_input(key: str) -> bool:
    return key.startswith(layout.INPUT)


def _find(key: str, ask: Callable[[], T]) -> T:
    """Call `ask` and return its answer. Raises NotFound if S3 says that there is no such object."""
    try:
        return ask()
    except ClientError as error:
        if code_of(error) in _MISSING:
            raise NotFound(key) from None
        raise
