"""Listings from prefixes, files and inventories; each resumes after any of its objects."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from core.errors import NotFound
from core.storage.ports import Admit, Blob
from tagfleet.bulk.listing import BadListing, FileListing, InventoryListing, Listing, looks_like_image

KEYS = ["a b.jpg", "1+1.jpg", "50%25.jpg", "ü/日本.jpg", 'q"uote,.jpg']
ENCODED = ["a+b.jpg", "1%2B1.jpg", "50%2525.jpg", "%C3%BC/%E6%97%A5%E6%9C%AC.jpg", "q%22uote%2C.jpg"]


class Nothing:
    def read(self, uri: str, max_bytes: int, admit: Admit | None = None) -> Blob:
        raise NotFound(uri)


def inventory(
    folder: Path, format: str, files: list[bytes], schema: str = "Bucket, Key, IsLatest, IsDeleteMarker"
) -> Any:
    (folder / "data").mkdir()
    for number, data in enumerate(files):
        (folder / "data" / f"{number}.bin").write_bytes(data)
    manifest = {
        "sourceBucket": "photos",
        "destinationBucket": "arn:aws:s3:::inventories",
        "fileFormat": format,
        "fileSchema": schema,
        "files": [{"key": f"photos/all/data/{number}.bin", "size": 1} for number in range(len(files))],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return InventoryListing(Nothing(), str(folder / "manifest.json"))


def csv_file(*rows: tuple[str, ...]) -> bytes:
    out = io.StringIO(newline="")
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows(rows)
    return gzip.compress(out.getvalue().encode())


def parquet_file(*rows: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(list(rows)), out)
    return out.getvalue()


def both(folder: Path, format: str) -> Any:
    if format == "CSV":
        first = csv_file(
            *(("photos", key, "true", "false") for key in ENCODED[:3]), ("photos", "old", "false", "false")
        )
        second = csv_file(
            ("photos", "gone", "true", "true"), *(("photos", key, "true", "false") for key in ENCODED[3:])
        )
        return inventory(folder, format, [first, second])
    first = parquet_file(*({"key": key, "is_latest": True, "is_delete_marker": False} for key in KEYS[:3]))
    second = parquet_file(
        *({"key": key, "is_latest": True, "is_delete_marker": key == "gone"} for key in ["gone", *KEYS[3:]])
    )
    return inventory(folder, format, [first, second])


@pytest.mark.parametrize("format", ["CSV", "Parquet"])
def test_an_inventory_names_what_is_there_now(tmp_path: Path, format: str) -> None:
    assert [found.uri for found in both(tmp_path, format).after("")] == [f"s3://photos/{key}" for key in KEYS]


@pytest.mark.parametrize("format", ["CSV", "Parquet", "list"])
def test_a_listing_goes_on_after_any_of_its_objects(tmp_path: Path, format: str) -> None:
    listing: Listing
    if format == "list":
        (tmp_path / "list").write_text("\n".join(["", *KEYS, ""]))
        listing = FileListing(Nothing(), str(tmp_path / "list"), "photos")
    else:
        listing = both(tmp_path, format)
    found = list(listing.after(""))
    assert [one.uri for one in found] == [f"s3://photos/{key}" for key in KEYS]
    for number, one in enumerate(found):
        assert list(listing.after(one.cursor)) == found[number + 1 :]


@given(keys=st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1)))
def test_a_list_may_mix_addresses_and_keys(tmp_path_factory: pytest.TempPathFactory, keys: list[str]) -> None:
    path = tmp_path_factory.mktemp("list") / "list"
    path.write_text("\n".join(f"s3://other/{key}" if number % 2 else key for number, key in enumerate(keys)))
    uris = [f"s3://{'other' if number % 2 else 'photos'}/{key}" for number, key in enumerate(keys)]
    assert [found.uri for found in FileListing(Nothing(), str(path), "photos").after("")] == uris


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            '{"sourceBucket": "b"}',
            "this is not the manifest of an inventory in CSV or Parquet: destinationBucket: Field required",
        ),
        ("{", "this is not the manifest of an inventory in CSV or Parquet"),
    ],
)
def test_what_is_no_manifest_is_refused(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(BadListing, match=why):
        list(InventoryListing(Nothing(), str(tmp_path / "manifest.json")).after(""))


def test_what_a_listing_cannot_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("a.jpg")
    with pytest.raises(BadListing, match=r"line 1 is not an address.*tagfleet tag s3://BUCKET --list FILE"):
        list(FileListing(Nothing(), str(tmp_path / "list")).after(""))
    with pytest.raises(BadListing, match="No such file"):
        list(FileListing(Nothing(), str(tmp_path / "gone"), "b").after(""))
    with pytest.raises(BadListing, match="this object does not exist"):
        list(InventoryListing(Nothing(), "s3://b/manifest.json").after(""))


@pytest.mark.parametrize("line", ["s3:///a.jpg", "s3://"])
def test_an_address_without_a_bucket_is_named_before_anything_is_sent(tmp_path: Path, line: str) -> None:
    """Written by a program whose variable was empty; in a portion, the run could never go on."""
    (tmp_path / "list.txt").write_text(f"s3://photos/1.jpg\n{line}\n")
    with pytest.raises(BadListing, match="line 2 is not an address"):
        list(FileListing(Nothing(), str(tmp_path / "list.txt"), "photos").after(""))


def test_an_image_is_known_by_its_ending_whatever_its_case() -> None:
    assert [looks_like_image(f"s3://b/{key}") for key in ("a.JPG", "b.heic", "c.txt", "jpg")] == [
        True,
        True,
        False,
        False,
    ]
