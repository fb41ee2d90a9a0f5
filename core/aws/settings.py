"""Reads the settings file that all hosts of a deployment share, from a bucket."""

from __future__ import annotations

from config.settings import BadSetting
from core.aws.clients import Clients
from core.aws.sources import S3Source
from core.errors import NotFound, Unreadable

_MAX_BYTES = 1 << 20


def read(uri: str) -> str:
    """Return the text of `s3://BUCKET/KEY`, with the region of boto3's chain.

    Raises BadSetting if it cannot be read, Unavailable if S3 does not answer.
    """
    try:
        return S3Source(Clients()).read(uri, _MAX_BYTES).data.decode()
    except NotFound:
        raise BadSetting(
            f"settings file {uri}: there is no such bucket or object; `tagfleet aws up` makes it"
        ) from None
    except (Unreadable, ValueError) as error:
        raise BadSetting(f"settings file {uri}: {error}") from None
