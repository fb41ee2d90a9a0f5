"""Read S3 Inventory files: https://docs.aws.amazon.com/AmazonS3/latest/userguide/storage-inventory-location.html"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import unquote_plus

from pydantic import BaseModel, Field, ValidationError

from config.validation import first_problem

_ROWS = 10_000


class _File(BaseModel):
    key: str


class _Document(BaseModel):
    bucket: str = Field(alias="sourceBucket")
    destination: Annotated[str, Field(alias="destinationBucket")]
    format: Annotated[Literal["CSV", "Parquet"], Field(alias="fileFormat")]
    fields: Annotated[str, Field(alias="fileSchema")]
    files: list[_File]


@dataclass(frozen=True, slots=True)
class Manifest:
    """An inventory as its manifest.json describes it."""

    bucket: str
    destination: str
    parquet: bool
    columns: tuple[str, ...]
    """Columns of a CSV inventory; Parquet files carry their own."""
    files: tuple[str, ...]


def parse(data: bytes) -> Manifest:
    """Parse a manifest.json. Raises ValueError whose text is a sentence."""
    try:
        found = _Document.model_validate_json(data)
    except ValidationError as error:
        problem = first_problem(error, whole="the file")
        raise ValueError(f"this is not the manifest of an inventory in CSV or Parquet: {problem}") from None
    return Manifest(
        bucket=found.bucket,
        destination=found.destination.rpartition(":")[2],
        parquet=found.format == "Parquet",
        columns=tuple(name.strip() for name in found.fields.split(",")),
        files=tuple(file.key for file in found.files),
    )


def keys(manifest: Manifest, data: bytes) -> Iterator[str | None]:
    """Yield the key of each row of one file, None for deleted objects and old versions. Raises ValueError."""
    if manifest.parquet:
        return _keys_in_parquet(data)
    if "Key" not in manifest.columns:
        raise ValueError(f"the manifest's inventory has no column Key, only {', '.join(manifest.columns)}")
    return _keys_in_csv(data, manifest.columns)


def _keys_in_csv(data: bytes, columns: Sequence[str]) -> Iterator[str | None]:
    with gzip.open(io.BytesIO(data), "rt", encoding="utf-8", newline="") as lines:
        for row in csv.reader(lines):
            fields = dict(zip(columns, row, strict=False))
            # Keys in CSV are URL-encoded; those in Parquet are not.
            yield unquote_plus(fields["Key"]) if _exists(fields, "IsLatest", "IsDeleteMarker") else None


def _keys_in_parquet(data: bytes) -> Iterator[str | None]:
    from pyarrow import parquet  # takes half a second, and only this function needs it

    file = parquet.ParquetFile(io.BytesIO(data))
    wanted = [name for name in ("key", "is_latest", "is_delete_marker") if name in file.schema_arrow.names]
    for rows in file.iter_batches(batch_size=_ROWS, columns=wanted):
        for fields in rows.to_pylist():
            yield fields["key"] if _exists(fields, "is_latest", "is_delete_marker") else None


def _exists(fields: Mapping[str, Any], latest: str, deleted: str) -> bool:
    return str(fields.get(latest)).lower() != "false" and str(fields.get(deleted)).lower() != "true"
