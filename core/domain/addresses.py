"""Addresses of objects in any bucket: `s3://BUCKET/KEY`, and `s3://VERSION@BUCKET/KEY` for one version. Pure."""

from __future__ import annotations

from urllib.parse import quote, unquote

DROPS = "images/"
"""Prefix of the input bucket under which any program may put files; a bucket's notification can tell prefixes apart."""


def address(bucket: str, key: str, version: str = "") -> str:
    """Return `s3://BUCKET/KEY`, or `s3://VERSION@BUCKET/KEY` for one version of an object.

    The key is written as it is, whatever characters it has. No bucket's name has an @.
    """
    return f"s3://{quote(version, safe='')}@{bucket}/{key}" if version else f"s3://{bucket}/{key}"


def split_address(uri: str) -> tuple[str, str]:
    """Return bucket and key of an address, without its version. Raises ValueError."""
    _, bucket, key = _split(uri)
    return bucket, key


def version_of(uri: str) -> str:
    """Return the version in an address, "" if it has none. Raises ValueError."""
    return _split(uri)[0]


def without_version(uri: str) -> str:
    """Return the address without its version, as people know it. Raises ValueError."""
    return address(*split_address(uri))


def _split(uri: str) -> tuple[str, str, str]:
    scheme, found, rest = uri.partition("://")
    place, _, key = rest.partition("/")
    version, _, bucket = place.rpartition("@")
    if scheme != "s3" or not found or not bucket:
        raise ValueError(f"{uri[:200]!r} is not an address of the form s3://BUCKET/KEY")
    return unquote(version), bucket, key
