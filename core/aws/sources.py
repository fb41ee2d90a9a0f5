"""Objects of any bucket on S3, read where they lie."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from core.errors import NotFound, Unavailable, Unreadable
from core.notifications import split_address
from core.ports import Blob, Etag, ObjectInfo

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_PAGE = 1000
_POOL = 64
_ABSENT = {"NoSuchKey", "NoSuchBucket", "404", "NoSuchVersion"}
_DENIED = {"AccessDenied", "403", "AllAccessDisabled", "AccountProblem"}
_FIX = {
    "ExpiredToken": "the credentials have expired; renew them",
    "InvalidAccessKeyId": "the access key is not known to AWS; check the credentials",
    "SignatureDoesNotMatch": "the secret key is wrong, or this clock is; check the credentials",
}


class S3Source:
    """Safe for several threads. `region` may be empty: boto3's own chain knows; other regions are followed to."""

    def __init__(self, region: str = "") -> None:
        self._region = region
        self._lock = Lock()
        self._made: S3Client | None = None

    def read(self, uri: str, max_bytes: int) -> Blob:
        bucket, key = split_address(uri)
        if not key:
            raise ValueError(f"{uri!r} names a bucket and no object in it")
        with _told(uri):
            answer = self._client.get_object(Bucket=bucket, Key=key)
            with answer["Body"] as body:
                if answer["ContentLength"] > max_bytes:
                    raise Unreadable(f"larger than {max_bytes >> 20} MB, the most that is read (web.max_image_mb)")
                data = body.read()
        return Blob(data, Etag(answer["ETag"].strip('"')), answer.get("ContentType", "application/octet-stream"))

    def list(self, uri: str, start_after: str = "", *, pages: int | None = None) -> Iterator[ObjectInfo]:
        bucket, prefix = split_address(uri)
        asked = 0
        while pages is None or asked < pages:
            with _told(uri):
                page = self._client.list_objects_v2(Bucket=bucket, Prefix=prefix, StartAfter=start_after, MaxKeys=_PAGE)
            asked += 1
            for found in page.get("Contents", ()):
                start_after = found["Key"]
                etag = Etag(found["ETag"].strip('"'))
                yield ObjectInfo(start_after, found["Size"], etag, found["LastModified"].timestamp())
            if not page["IsTruncated"]:
                return

    @property
    def _client(self) -> S3Client:
        with self._lock:  # boto3's sessions are not made for several threads, its clients are
            if self._made is None:
                with _told("S3"):
                    self._made = boto3.session.Session(region_name=self._region or None).client("s3", config=_config())
            return self._made


def _config() -> Config:
    return Config(
        connect_timeout=5, read_timeout=30, max_pool_connections=_POOL, retries={"mode": "adaptive", "max_attempts": 5}
    )


@contextmanager
def _told(uri: str) -> Iterator[None]:
    """Turns what boto3 raises into what the port promises."""
    try:
        yield
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in _ABSENT:
            raise NotFound(uri) from None
        if code == "InvalidObjectState":
            raise Unreadable("it is archived; restore it from its storage class first") from None
        if code in _DENIED:
            raise Unreadable("these credentials may not read it; they need s3:GetObject and s3:ListBucket") from None
        raise Unavailable(f"{uri}: {_FIX.get(code) or error}") from None
    except BotoCoreError as error:
        raise Unavailable(f"{uri}: {error}") from None
    except OSError as error:  # a connection that broke while the body came
        raise Unavailable(f"{uri}: {error}") from None
