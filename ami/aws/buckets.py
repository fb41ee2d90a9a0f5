"""Whole buckets: how much lies in one, and the end of one."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from botocore.exceptions import ClientError

from core.aws.clients import Clients
from core.aws.errors import code_of, translate_errors
from core.errors import Unavailable

_COUNTED_PAGES = 100
"""A thousand objects each: half a cent, and a minute at most."""


@dataclass(frozen=True, slots=True)
class Contents:
    objects: int
    bytes: int
    more: bool
    """Whether there is more than was counted."""


def put_text(clients: Clients, bucket: str, key: str, text: str) -> str:
    """Store a text; its address, by which other services of AWS find it."""
    with translate_errors(f"put objects into bucket {bucket}", "s3"):
        clients.s3.put_object(Bucket=bucket, Key=key, Body=text.encode())
    return f"{clients.s3.meta.endpoint_url}/{bucket}/{key}"


def contents(clients: Clients, bucket: str) -> Contents | None:
    """None where there is no such bucket."""
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
    """Delete a bucket with all that is in it; how many objects that were. One that is gone already is no error."""
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
