"""Which objects are tagged: those below an address, those that a list names, or those of an S3 Inventory.

A listing can go on after any of its objects: each comes with a cursor, which means something to its listing alone.
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
"""Of a list, or of one file of an inventory: it is held while it is read."""


class BadListing(TagfleetError):
    """What should be tagged cannot be told from what was given."""


@dataclass(frozen=True, slots=True)
class Found:
    """An object to tag. The listing goes on after it from `cursor`."""

    uri: str
    cursor: str


class Listing(Protocol):
    @property
    def name(self) -> str:
        """The same for the same objects: a run is found again by it."""

    def after(self, cursor: str) -> Iterator[Found]:
        """What follows there, from the beginning where it is empty. Raises BadListing, Unavailable."""


@dataclass(frozen=True)
class Below:
    """Everything whose address begins with `uri`."""

    source: Source
    uri: str

    @property
    def name(self) -> str:
        return self.uri

    def after(self, cursor: str) -> Iterator[Found]:
        bucket, _ = split_address(self.uri)
        try:
            for info in self.source.list(self.uri, cursor):
                yield Found(address(bucket, info.key), info.key)
        except NotFound:
            raise BadListing(f"there is no bucket {bucket!r}, or not for these credentials") from None


@dataclass(frozen=True)
class Named:
    """A text file, here or in a bucket, with one address or key in each line; keys are those of `bucket`."""

    source: Source
    path: str
    bucket: str = ""

    @property
    def name(self) -> str:
        where = self.path if self.path.startswith("s3://") else str(Path(self.path).absolute())
        return f"list {where} of {self.bucket}"

    def after(self, cursor: str) -> Iterator[Found]:
        for number, line in enumerate(self._lines):
            if number < int(cursor or 0) or not line:
                continue
            uri = line if line.startswith("s3://") else address(self.bucket, line)
            try:
                split_address(uri)
            except ValueError:
                raise BadListing(
                    f"{self.path}: line {number + 1} is no address, s3://BUCKET/KEY; "
                    "for a list of keys name their bucket too: tagfleet tag s3://BUCKET --list FILE"
                ) from None
            yield Found(uri, str(number + 1))

    @cached_property
    def _lines(self) -> list[str]:
        try:
            return read(self.source, self.path).decode().splitlines()
        except UnicodeDecodeError:
            raise BadListing(f"{self.path}: a list is a text file in UTF-8") from None


@dataclass(frozen=True)
class Inventory:
    """What S3 Inventory wrote down of a bucket; `path` is its manifest.json. Its files are read one by one."""

    source: Source
    path: str

    @property
    def name(self) -> str:
        where = self.path if self.path.startswith("s3://") else str(Path(self.path).absolute())
        return f"inventory {where}"

    def after(self, cursor: str) -> Iterator[Found]:
        manifest = self._manifest
        first, row = map(int, cursor.split(":")) if cursor else (0, 0)
        for number in range(first, len(manifest.files)):
            data = read(self.source, self._place(manifest, manifest.files[number]))
            for at, key in enumerate(inventory.keys(manifest, data)):
                if key is not None and (number > first or at >= row):
                    yield Found(address(manifest.bucket, key), f"{number}:{at + 1}")

    @cached_property
    def _manifest(self) -> inventory.Manifest:
        try:
            return inventory.parse(read(self.source, self.path))
        except ValueError as error:
            raise BadListing(f"{self.path}: {error}") from None

    def _place(self, manifest: inventory.Manifest, key: str) -> str:
        """Beside a manifest that lies here its files are looked for here, by their names."""
        if self.path.startswith("s3://"):
            return address(manifest.destination, key)
        return str(Path(self.path).parent / "data" / key.rpartition("/")[2])


def looks_like_image(uri: str) -> bool:
    return uri.lower().endswith(IMAGE_EXTENSIONS)


def read(source: Source, path: str) -> bytes:
    """A file here or in a bucket. Raises BadListing, Unavailable."""
    try:
        return source.read(path, MAX_LIST_BYTES).data if path.startswith("s3://") else Path(path).read_bytes()
    except NotFound:
        raise BadListing(f"{path}: there is no such object") from None
    except OSError as error:
        raise BadListing(f"{path}: {error.strerror}") from None
