"""Puts a large file into S3 part by part, by boto3: obstore cannot put it under a condition.

The bytes are most of the work, so boto3 costs little more here.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO

from botocore.exceptions import BotoCoreError, ClientError

from core.storage.ports import Etag

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PART = 8 << 20
"""Bytes of one part. A smaller file, such as almost every photo, is put in one request."""


def read_part(file: BinaryIO) -> bytes:
    """Return the next `PART` bytes, fewer only at the end of the file. Errors of reading pass unchanged."""
    pieces: list[bytes] = []
    left = PART
    while left and (piece := file.read(left)):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def put_parts(
    s3: S3Client,
    about: dict[str, Any],
    kind: dict[str, Any],
    head: bytes,
    read: Callable[[], bytes],
    condition: dict[str, Any],
) -> Etag:
    """Put `head` and everything that `read` returns as one object, part by part; S3 checks the condition at the end.

    Only one part is held in memory, and a broken upload leaves nothing. `about` names bucket and key, `kind` the
    object's type and metadata. Raises botocore's errors and those of `read`.
    """
    upload = s3.create_multipart_upload(**about, **kind)["UploadId"]
    try:
        parts: list[Any] = []
        while head:
            number = len(parts) + 1
            done = s3.upload_part(**about, UploadId=upload, PartNumber=number, Body=head)
            parts.append({"PartNumber": number, "ETag": done["ETag"]})
            head = read()
        whole = s3.complete_multipart_upload(**about, **condition, UploadId=upload, MultipartUpload={"Parts": parts})
        return Etag(whole["ETag"])
    except BaseException:
        with suppress(ClientError, BotoCoreError):  # the bucket's lifecycle rule removes abandoned parts
            s3.abort_multipart_upload(**about, UploadId=upload)
        raise
