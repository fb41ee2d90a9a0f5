"""A bucket for as long as something is passed on through it, where a deployment has none yet."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from core.aws.clients import Clients
from core.aws.errors import translate_errors
from core.errors import TagfleetError

_EVERYWHERE = "us-east-1"  # S3 takes every region's name as a constraint but this one's


@contextmanager
def passing_bucket(clients: Clients, stem: str) -> Iterator[str]:
    """A new private bucket, whose name begins with `stem`; deleted afterwards, for which it has to be empty.

    Raises Unavailable, Misconfigured among it.
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
            _delete(clients, name)
        except TagfleetError as error:
            raise TagfleetError(f"{failure}\n  {error}") from failure  # the first of them says what went wrong
        raise
    except BaseException:
        _delete(clients, name)
        raise
    _delete(clients, name)


def _delete(clients: Clients, name: str) -> None:
    with translate_errors(f"delete bucket {name}; do it by hand", "s3"):
        clients.s3.delete_bucket(Bucket=name)
