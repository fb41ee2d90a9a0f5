"""Settings that lie in a bucket, where every host of a deployment reads the same ones."""

from __future__ import annotations

from config.settings import BadSetting
from core.aws.clients import Clients
from core.aws.sources import S3Source
from core.errors import NotFound, Unreadable

_MAX_BYTES = 1 << 20


def read(uri: str) -> str:
    """The text of `s3://BUCKET/KEY`, asked for in the region of boto3's chain.

    Raises BadSetting where it names nothing that can be read, Unavailable where S3 does not answer.
    """
    try:
        return S3Source(Clients()).read(uri, _MAX_BYTES).data.decode()
    except NotFound:
        raise BadSetting(
            f"settings file {uri}: there is no such bucket or object; `tagfleet aws up` makes it"
        ) from None
    except (Unreadable, ValueError) as error:
        raise BadSetting(f"settings file {uri}: {error}") from None
