"""A large stream into S3, part by part: what it takes in memory is one part, and a broken one leaves nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def put_parts(
    s3: S3Client,
    about: dict[str, Any],
    kind: dict[str, Any],
    head: bytes,
    read: Callable[[], bytes],
    condition: dict[str, Any],
) -> Mapping[str, Any]:
    """Put `head` and all that `read` gives as one object; S3 looks at the condition at the end.

    `about` names bucket and key, `kind` the object's type and metadata. Raises botocore's errors and those of `read`.
    """
    upload = s3.create_multipart_upload(**about, **kind)["UploadId"]
    try:
        parts: list[Any] = []
        while head:
            number = len(parts) + 1
            done = s3.upload_part(**about, UploadId=upload, PartNumber=number, Body=head)
            parts.append({"PartNumber": number, "ETag": done["ETag"]})
            head = read()
        return s3.complete_multipart_upload(**about, **condition, UploadId=upload, MultipartUpload={"Parts": parts})
    except BaseException:
        with suppress(ClientError, BotoCoreError):  # the bucket's own rule ends what is left of it
            s3.abort_multipart_upload(**about, UploadId=upload)
        raise
