"""List the objects that a run tags: all below a prefix, or all that a file or an S3 Inventory names.

A listing can resume after any of its objects: each comes with a cursor, which only the same listing understands.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from core.domain.addresses import address, split_address
from core.errors import NotFound, TagfleetError
from core.imaging.extensions import IMAGE_EXTENSIONS
from core.storage.ports import Source
from tagfleet.bulk import inventory

MAX_LIST_BYTES = 1 << 30
"""Largest list, and largest file of an inventory; each is held in memory while it is read."""


class BadListing(TagfleetError):
    """The objects to tag cannot be determined from what was given."""


@dataclass(frozen=True, slots=True)
class ListedObject:
    """An object to tag. The listing resumes after it from `cursor`."""

    uri: str
    cursor: str


class Listing(Protocol):
    @property
    def name(self) -> str:
        """Identifies the objects. A repeated command finds its run by this name."""

    def after(self, cursor: str) -> Iterator[ListedObject]:
        """Yield the objects after `cursor`, all of them for an empty one. Raises BadListing, Unavailable."""


@dataclass(frozen=True)
class PrefixListing:
    """All objects whose address begins with `uri`."""

    source: Source
    uri: str

    @property
    def name(self) -> str:
        return self.uri

    def after(self, cursor: str) -> Iterator[ListedObject]:
        bucket, _ = split_address(self.uri)
        try:
            for info in self.source.list(self.uri, cursor):
                yield ListedObject(address(bucket, info.key), info.key)
        except NotFound:
            raise BadListing(f"bucket {bucket!r} does not exist, or these credentials may not list it") from None


@dataclass(frozen=True)
class FileListing:
    """A text file, here or in a bucket, with an address or a key on each line; keys belong to `bucket`."""

    source: Source
    path: str
    bucket: str = ""

    @property
    def name(self) -> str:
        where = self.path if self.path.startswith("s3://") else str(Path(self.path).absolute())
        return f"list {where} of {self.bucket}"

    def after(self, cursor: str) -> Iterator[ListedObject]:
        for number, line in enumerate(self._lines):
            if number < int(cursor or 0) or not line:
                continue
            uri = line if line.startswith("s3://") else address(self.bucket, line)
            try:
                split_address(uri)
            except ValueError:
                raise BadListing(
                    f"{self.path}: line {number + 1} is not an address s3://BUCKET/KEY; "
                    "for a list of keys give their bucket too: tagfleet tag s3://BUCKET --list FILE"
                ) from None
            yield ListedObject(uri, str(number + 1))

    @cached_property
    def _lines(self) -> list[str]:
        try:
            return read(self.source, self.path).decode().splitlines()
        except UnicodeDecodeError:
            raise BadListing(f"{self.path}: a list must be a text file in UTF-8, and this is not") from None


@dataclass(frozen=True)
class InventoryListing:
    """An S3 Inventory; `path` is its manifest.json. Its files are read one at a time."""

    source: Source
    path: str

    @property
    def name(self) -> str:
        where = self.path if self.path.startswith("s3://") else str(Path(self.path).absolute())
        return f"inventory {where}"

    def after(self, cursor: str) -> Iterator[ListedObject]:
        manifest = self._manifest
        first, row = map(int, cursor.split(":")) if cursor else (0, 0)
        for number in range(first, len(manifest.files)):
            data = read(self.source, self._address(manifest, manifest.files[number]))
            for at, key in enumerate(inventory.keys(manifest, data)):
                if key is not None and (number > first or at >= row):
                    yield ListedObject(address(manifest.bucket, key), f"{number}:{at + 1}")

    @cached_property
    def _manifest(self) -> inventory.Manifest:
        try:
            return inventory.parse(read(self.source, self.path))
        except ValueError as error:
            raise BadListing(f"{self.path}: {error}") from None

    def _address(self, manifest: inventory.Manifest, key: str) -> str:
        """Return where a file of the inventory is: beside a manifest on this machine, under its name in `data/`."""
        if self.path.startswith("s3://"):
            return address(manifest.destination, key)
        return str(Path(self.path).parent / "data" / key.rpartition("/")[2])


def looks_like_image(uri: str) -> bool:
    """Return whether the address ends with an image's extension."""
    return uri.lower().endswith(IMAGE_EXTENSIONS)


def read(source: Source, path: str) -> bytes:
    """Read a file here or in a bucket. Raises BadListing, Unavailable."""
    try:
        return source.read(path, MAX_LIST_BYTES).data if path.startswith("s3://") else Path(path).read_bytes()
    except NotFound:
        raise BadListing(f"{path}: this object does not exist") from None
    except OSError as error:
        raise BadListing(f"{path}: {error.strerror}") from None
