"""Whole buckets of S3: their contents, removal, encryption key, and a temporary one."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

from botocore.exceptions import ClientError

from core.aws.clients import Clients
from core.aws.errors import code_of, translate_errors
from core.errors import NotFound, TagfleetError, Unavailable

_MANAGED = "alias/aws/s3"
"""AWS's own key for S3: everybody in the account who may read an object may use it through S3, without a right to it.

https://docs.aws.amazon.com/kms/latest/developerguide/concepts.html#aws-managed-cmk
"""
_EVERYWHERE = "us-east-1"
"""S3 takes the name of every region but this one as a constraint."""
_COUNTED_PAGES = 100
"""A thousand objects each: half a cent, and a minute at most."""


@dataclass(frozen=True, slots=True)
class Contents:
    objects: int
    bytes: int
    more: bool
    """Whether there is more than was counted."""


def put_text(clients: Clients, bucket: str, key: str, text: str) -> str:
    """Store a text. Returns the address by which other AWS services find it."""
    with translate_errors(f"put objects into bucket {bucket}", "s3"):
        clients.s3.put_object(Bucket=bucket, Key=key, Body=text.encode())
    return f"{clients.s3.meta.endpoint_url}/{bucket}/{key}"


def contents(clients: Clients, bucket: str) -> Contents | None:
    """Return what is in a bucket; None if there is no such bucket."""
    objects = size = 0
    more = False
    with translate_errors(f"list bucket {bucket}", "s3"):
        try:
            pages = clients.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
            for page in islice(pages, _COUNTED_PAGES):
                objects += page.get("KeyCount", 0)
                size += sum(entry["Size"] for entry in page.get("Contents", []))
                more = page.get("IsTruncated", False)
        except ClientError as error:
            if code_of(error) == "NoSuchBucket":
                return None
            raise
    return Contents(objects, size, more)


def remove(clients: Clients, bucket: str) -> int:
    """Delete a bucket and its objects. Returns the number of objects; a missing bucket is no error."""
    removed = 0
    with translate_errors(f"delete bucket {bucket}", "s3"):
        try:
            for page in clients.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
                keys = [entry["Key"] for entry in page.get("Contents", [])]
                if keys:
                    answer = clients.s3.delete_objects(
                        Bucket=bucket, Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True}
                    )
                    if kept := answer.get("Errors"):
                        why = f"{kept[0].get('Code', '')}: {kept[0].get('Message', '')}"
                        raise Unavailable(f"{len(kept)} objects of bucket {bucket} were not deleted ({why})")
                removed += len(keys)
            clients.s3.delete_bucket(Bucket=bucket)
        except ClientError as error:
            if code_of(error) != "NoSuchBucket":
                raise
    return removed


@contextmanager
def temporary_bucket(clients: Clients, stem: str) -> Iterator[str]:
    """Yield a new private bucket, whose name begins with `stem`. Deleted on exit; the caller must empty it.

    Raises Unavailable, and Misconfigured among it.
    """
    name, region = f"{stem}-{secrets.token_hex(6)}", clients.region
    with translate_errors(f"make bucket {name}", "s3"):
        if region == _EVERYWHERE:
            clients.s3.create_bucket(Bucket=name)
        else:
            clients.s3.create_bucket(
                Bucket=name,
                CreateBucketConfiguration={"LocationConstraint": region},  # type: ignore[typeddict-item]  # any region
            )
    try:
        yield name
    except TagfleetError as failure:
        try:
            _delete_empty(clients, name)
        except TagfleetError as error:
            raise TagfleetError(f"{failure}\n  {error}") from failure  # the first one says what went wrong
        raise
    except BaseException:
        _delete_empty(clients, name)
        raise
    _delete_empty(clients, name)


def _delete_empty(clients: Clients, name: str) -> None:
    with translate_errors(f"delete bucket {name}; do it by hand", "s3"):
        clients.s3.delete_bucket(Bucket=name)


def key_of(clients: Clients, bucket: str) -> str:
    """Return the ARN of the KMS key on which readers of `bucket` need `kms:Decrypt`; "" if they need none.

    It does not look for objects with other keys than the bucket's. Raises NotFound if there is no such bucket,
    Unavailable, and Misconfigured among it, if it may not be read.
    """
    with translate_errors(f"see how bucket {bucket} is encrypted", "s3"):
        try:
            answer = clients.s3.get_bucket_encryption(Bucket=bucket)
        except ClientError as error:
            if code_of(error) == "ServerSideEncryptionConfigurationNotFoundError":
                return ""
            if code_of(error) == "NoSuchBucket":
                raise NotFound(f"s3://{bucket}") from None
            raise
    for rule in answer["ServerSideEncryptionConfiguration"]["Rules"]:
        by_default = rule.get("ApplyServerSideEncryptionByDefault")
        if by_default and by_default["SSEAlgorithm"].startswith("aws:kms"):
            return _arn(clients, bucket, by_default.get("KMSMasterKeyID", _MANAGED))
    return ""


def _arn(clients: Clients, bucket: str, key: str) -> str:
    """Return the key's ARN, by which IAM's policies name it; a bucket may name it by its id or an alias."""
    if key.endswith(_MANAGED):
        return ""
    if key.startswith("arn:") and ":key/" in key:
        return key
    with translate_errors(f"look at key {key} of bucket {bucket}", "kms"):
        found = clients.of("kms").describe_key(KeyId=key)["KeyMetadata"]
    return "" if found.get("KeyManager") == "AWS" else str(found["Arn"])
