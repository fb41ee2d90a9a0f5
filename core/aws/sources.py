"""Reads objects of any bucket on S3."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError, ParamValidationError

from core.aws.clients import Clients
from core.aws.errors import code_of, translate_errors
from core.aws.objects import Found
from core.domain.addresses import split_address, version_of
from core.errors import NotFound, Unreadable
from core.storage.ports import Admit, Blob, Etag, ObjectInfo
from core.telemetry import logger

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_ABSENT = frozenset({"NoSuchKey", "NoSuchBucket", "404", "InvalidBucketName", "KeyTooLongError"})
_MAY_NOT = "the workers may not read it (their role needs s3:GetObject on its bucket), or it is gone"
"""S3 gives the same answer for both if the role may not list the bucket."""
_NO_KEY = "it is encrypted with a key of KMS that the workers may not use; run `tagfleet aws up` and give --source-key"
"""S3 says AccessDenied for this too, and names the action of KMS."""
_DENIED = frozenset({"AccessDenied", "403", "Forbidden", "KMS.AccessDeniedException"})
_NO_VERSION = _DENIED | {
    "NoSuchVersion",
    "NoSuchKey",
    "404",
    "InvalidArgument",
    "MethodNotAllowed",  # a delete marker
    "405",
    "NotImplemented",
}
"""The version is gone, the role has no s3:GetObjectVersion, or the store keeps no versions."""


class S3Source:
    """Reads and lists objects by address. Safe for several threads. Buckets in other regions are found."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    @property
    def _s3(self) -> S3Client:
        return self._clients.s3

    def read(self, uri: str, max_bytes: int, admit: Admit | None = None) -> Blob:
        bucket, key = split_address(uri)
        if not key:
            raise ValueError(f"{uri!r} names a bucket and no object in it")

        def look(found: Found) -> None:
            if found.size > max_bytes:
                raise Unreadable(f"it is larger than the {max_bytes / (1 << 20):.0f} MB that are read at most")
            if admit is not None:
                admit(found.size)

        with translate_errors(f"read {uri}", "s3"), _translate_one(uri):
            found, data = self._read(bucket, key, look, version_of(uri))
        return Blob(data, Etag(found.etag.strip('"')), found.content_type, found.version)

    def _read(self, bucket: str, key: str, look: Callable[[Found], None], version: str) -> tuple[Found, bytes]:
        if version:
            try:
                return self._clients.objects.read(bucket, key, look, version)
            except ClientError as error:
                if (code := code_of(error)) not in _NO_VERSION:
                    raise
                logger().debug("a version cannot be read; the current object is read instead", bucket=bucket, code=code)
        return self._clients.objects.read(bucket, key, look)

    def list(self, uri: str, start_after: str = "", *, pages: int | None = None) -> Iterator[ObjectInfo]:
        bucket, prefix = split_address(uri)
        asked = 0
        while pages is None or asked < pages:
            with translate_errors(f"list {uri}", "s3"), _translate_absence(uri):
                page = self._s3.list_objects_v2(Bucket=bucket, Prefix=prefix, StartAfter=start_after)
            asked += 1
            for found in page.get("Contents", ()):
                start_after = found["Key"]
                etag = Etag(found["ETag"].strip('"'))
                yield ObjectInfo(start_after, found["Size"], etag, found["LastModified"].timestamp())
            if not page["IsTruncated"]:
                return


@contextmanager
def _translate_absence(uri: str) -> Iterator[None]:
    """Raise NotFound for a missing bucket or object, and for an invalid name: a list of addresses may hold anything."""
    try:
        yield
    except (ParamValidationError, UnicodeEncodeError):
        raise NotFound(uri) from None
    except ClientError as error:
        if code_of(error) in _ABSENT:
            raise NotFound(uri) from None
        raise


@contextmanager
def _translate_one(uri: str) -> Iterator[None]:
    """Raise Unreadable for errors that concern one object and no others."""
    try:
        with _translate_absence(uri):
            yield
    except ClientError as error:
        if code_of(error) == "InvalidObjectState":
            raise Unreadable("it is archived; restore it from its storage class first") from None
        if code_of(error) in _DENIED:
            raise Unreadable(_NO_KEY if "kms:" in str(error) else _MAY_NOT) from None
        raise
