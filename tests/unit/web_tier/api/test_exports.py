"""Exports: each format can be read back, matches the API, and is written in flat memory."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import tracemalloc
import unicodedata
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain.messages import Box, Tag
from web_tier.api.exports.coco import as_coco
from web_tier.api.exports.file_names import UniqueNames, attachment, safe_path
from web_tier.api.exports.rows import as_csv, as_json_lines
from web_tier.api.exports.sidecars import as_sidecars, sidecar
from web_tier.api.exports.source import Source
from web_tier.catalog.batches import Image, NoSuchBatch

WRITERS = [as_csv, as_json_lines, as_coco, as_sidecars]
XMP = {"rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#", "dc": "http://purl.org/dc/elements/1.1/"}
XMP |= {"lr": "http://ns.adobe.com/lightroom/1.0/", "digiKam": "http://www.digikam.org/ns/1.0/"}


@pytest.fixture
def batch(web) -> str:
    """Three images: a photo with a box and a person's tag, one without tags, one that failed."""
    batch = web.batch()
    web.upload(batch, ("album/a.jpg", b"one"), ("=1+1.jpg", b"two"), ("c.txt", b"three"))
    first, second, third = web.jobs()
    dog = Tag(name='dog, "big" <&>', confidence=0.9, instances=(Box(box=(0.1, 0.2, 0.3, 0.4), confidence=0.8),))
    result = web.result_of(first).model_copy(update={"tags": (dog, Tag(name="sofa", confidence=None)), "caption": "É"})
    web.finish(result, web.result_of(second).model_copy(update={"tags": ()}), web.result_of(third, error="no image"))
    web.collect()
    web.client.patch(f"/api/v1/images/{first.image_id}/tags", json={"add": ["@home"]})
    return batch


def export(web, batch: str, format: str):
    answer = web.client.get(f"/api/v1/batches/{batch}/export?format={format}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Disposition"].startswith(f'attachment; filename="{batch}.')
    return answer


def test_csv_has_a_row_for_each_tag_and_no_formulas(web, batch):
    answer = export(web, batch, "csv")
    assert answer.mimetype == "text/csv"
    assert answer.data.startswith(b"\xef\xbb\xbfimage_id,")
    rows = list(csv.DictReader(io.StringIO(answer.data.decode("utf-8-sig"), newline="")))
    shown = [(row["name"], row["status"], row["tag"], row["confidence"], row["source"]) for row in rows]
    assert shown == [
        ("album/a.jpg", "succeeded", 'dog, "big" <&>', "0.9", "model"),
        ("album/a.jpg", "succeeded", "sofa", "", "model"),
        ("album/a.jpg", "succeeded", "'@home", "", "person"),
        ("'=1+1.jpg", "succeeded", "", "", ""),
        ("c.txt", "failed", "", "", ""),
    ]
    assert rows[-1]["error"] == "no image"


def test_csv_for_programs_has_the_text_as_it_is(web, batch):
    data = web.client.get(f"/api/v1/batches/{batch}/export?format=csv&plain=true").data
    rows = list(csv.DictReader(io.StringIO(data.decode("utf-8"), newline="")))
    assert [row["tag"] for row in rows][:3] == ['dog, "big" <&>', "sofa", "@home"]
    assert [row["name"] for row in rows][3:] == ["=1+1.jpg", "c.txt"]
    assert rows[0]["image_id"].startswith("img_")


def test_a_table_of_many_scripts_opens_in_a_spreadsheet(web):
    """Excel recognises UTF-8 only by the mark. 犬 and é survive; disguised formulas do not run."""
    batch = web.batch()
    names = ["犬é.jpg", " =1+1.jpg", "\u200b=1.jpg", "＝1.jpg", "\ufeff+1.jpg", "'-1.jpg"]
    web.upload(batch, *((name, name.encode()) for name in names))
    read = csv.DictReader(io.StringIO(export(web, batch, "csv").data.decode("utf-8-sig"), newline=""))
    assert [row["name"] for row in read] == ["犬é.jpg", *(f"'{name}" for name in names[1:])]


def test_json_lines_are_the_items(web, batch):
    answer = export(web, batch, "jsonl")
    assert [json.loads(line) for line in answer.text.splitlines()] == web.get(f"/batches/{batch}/results")["results"]


def test_coco_has_an_annotation_for_each_box_or_tag(web, batch):
    coco = export(web, batch, "coco").json
    assert [(image["id"], image["file_name"]) for image in coco["images"]] == [
        (1, "album/a.jpg"),
        (2, "=1+1.jpg"),
        (3, "c.txt"),
    ]
    assert [(category["id"], category["name"]) for category in coco["categories"]] == [
        (1, 'dog, "big" <&>'),
        (2, "sofa"),
        (3, "@home"),
    ]
    assert [{**annotation, "segmentation": None} for annotation in coco["annotations"]] == [
        {
            "id": 1,
            "image_id": 1,
            "category_id": 1,
            "source": "model",
            "score": 0.8,
            "relative_bbox": [0.1, 0.2, 0.3, 0.4],
            "bbox": [0, 0, 0, 0],
            "area": 0,
            "segmentation": None,
            "iscrowd": 0,
        },
        *(
            {
                "id": number,
                "image_id": 1,
                "category_id": number,
                "source": by,
                "whole_image": True,
                "bbox": [0, 0, 0, 0],
                "area": 0,
                "segmentation": None,
                "iscrowd": 0,
            }
            for number, by in ((2, "model"), (3, "person"))
        ),
    ]


def test_sidecars_hold_the_tags_as_keywords(web, batch):
    with zipfile.ZipFile(io.BytesIO(export(web, batch, "xmp").data)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["album/a.jpg.xmp"]
        packet = ElementTree.fromstring(archive.read("album/a.jpg.xmp"))
    for element, above in (
        ("dc:subject", ""),
        ("lr:hierarchicalSubject", "Artifact|Instrumentality|Furnishing|Furniture|Seat|"),
        ("digiKam:TagsList", "Artifact/Instrumentality/Furnishing/Furniture/Seat/"),
    ):
        values = [li.text for li in packet.findall(f".//{element}//rdf:li", XMP)]
        assert values == ['dog, "big" <&>', f"{above}sofa", "@home"]
    assert [li.text for li in packet.findall(".//dc:description//rdf:li", XMP)] == ["É"]


SEPARATORS = ["AC/DC", "a|b", "/", "|", "x/y|z", "a//b"]


def exiftool(path: Path, *options: str) -> dict[str, Any]:
    made = subprocess.run(["exiftool", "-j", "-struct", *options, path], check=True, capture_output=True, timeout=60)
    return dict(json.loads(made.stdout)[0])


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="reads sidecars with exiftool")
def test_a_separator_in_a_tag_makes_no_hierarchy(web, tmp_path):
    batch = web.batch()
    (image,) = web.upload(batch, ("a.jpg", b"one"))
    web.client.patch(f"/api/v1/images/{image['image_id']}/tags", json={"add": [*SEPARATORS, "sofa"]})
    with zipfile.ZipFile(io.BytesIO(export(web, batch, "xmp").data)) as archive:
        archive.extractall(tmp_path)
    found = exiftool(tmp_path / "a.jpg.xmp", "-validate", "-warning", "-a", "-XMP:all")
    assert found.get("Validate", "OK") == "OK"
    assert "Warning" not in found
    assert found["Subject"] == [*SEPARATORS, "sofa"]
    *flat, sofa = found["TagsList"]
    assert [len(one.split("/")) for one in flat] == [1] * len(SEPARATORS)
    assert sofa == "Artifact/Instrumentality/Furnishing/Furniture/Seat/sofa"
    *flat, sofa = found["HierarchicalSubject"]
    assert [len(one.split("|")) for one in flat] == [1] * len(SEPARATORS)
    assert sofa == "Artifact|Instrumentality|Furnishing|Furniture|Seat|sofa"
    assert flat[0] == "AC/DC"
    assert found["TagsList"][1] == "a|b"


@given(names=st.lists(st.text(st.sampled_from("a/|&<é")) | st.text(), min_size=1))
def test_a_tag_is_one_level_of_its_hierarchy_whatever_it_is_called(names):
    packet = ElementTree.fromstring(sidecar(_image(1, [f"{name}xyz" for name in names], None)))
    for element, separator in (("lr:hierarchicalSubject", "|"), ("digiKam:TagsList", "/")):
        values = [li.text for li in packet.findall(f".//{element}//rdf:li", XMP)]
        assert len(values) == len(names)
        assert not any(separator in value for value in values)


@pytest.mark.parametrize("format", ["csv", "jsonl", "coco", "xmp"])
def test_an_empty_batch_is_an_empty_file_that_can_be_read(web, format):
    data = export(web, web.batch(), format).data
    if format == "xmp":
        assert zipfile.ZipFile(io.BytesIO(data)).namelist() == []
    elif format == "coco":
        assert json.loads(data)["images"] == []
    else:
        assert len(data.splitlines()) == (1 if format == "csv" else 0)


@pytest.mark.parametrize(("query", "status"), [("?format=pdf", 422), ("", 422)])
def test_a_format_that_is_none_is_refused(web, query, status):
    assert web.client.get(f"/api/v1/batches/{web.batch()}/export{query}").status_code == status
    assert web.client.get("/api/v1/batches/bat_none/export?format=csv").status_code == 404


@given(name=st.one_of(st.text(), st.from_regex(r"(\.\.|/|\\|[a-zA-Z]:|nul|\.| |\x00|\.xmp){0,12}", fullmatch=True)))
def test_no_name_leads_out_of_the_folder(name):
    for path in (PurePosixPath(safe_path(name)), PureWindowsPath(safe_path(name))):
        assert path.parts
        assert not path.is_absolute()
        assert not path.drive
        assert ".." not in path.parts
        assert not path.is_reserved()
        assert not any(part != part.rstrip(". ") or len(part.encode()) > 200 for part in path.parts)


@given(names=st.lists(st.sampled_from(["a.jpg", "A.jpg", "a (2).jpg", "x/a.jpg", ".a", "a", "A (2).JPG"])))
def test_no_name_is_given_twice(names):
    unique = UniqueNames()
    given_out = [unique(name).casefold() for name in names]
    assert len(given_out) == len(set(given_out))


ODD_NAMES = st.text(st.characters() | st.sampled_from("éÉßſKaA.\u0301\u200d\ufe0f/\\ ")) | st.sampled_from(
    ["e\u0301.jpg", "\u00e9.jpg", "\u00c9.JPG", "straße", "STRASSE", "ﬁ.jpg", "fi.jpg", "\u212b", "\u00c5", "ｆｉ.jpg"]
)


@given(names=st.lists(ODD_NAMES, max_size=8))
def test_no_two_entries_are_one_file_on_any_system(names):
    unique = UniqueNames()
    entries = [unique(safe_path(name)) + ".xmp" for name in names]
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        assert len({unicodedata.normalize(form, entry).casefold() for entry in entries}) == len(entries)
    assert len({entry.upper() for entry in entries}) == len(entries)
    assert all(len(part.encode()) <= 255 for entry in entries for part in entry.split("/"))


def test_a_name_of_macos_and_one_of_windows_are_two_entries():
    unique = UniqueNames()
    names = ("e\u0301.jpg", "\u00e9.jpg", "\u00c9.JPG", "x/\u00e9.jpg")
    assert [unique(name) for name in names] == ["e\u0301.jpg", "\u00e9 (2).jpg", "\u00c9 (3).JPG", "x/\u00e9.jpg"]


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("aux.txt", "_aux.txt"),
        ("COM¹", "_COM¹"),
        ("nul .jpg", "_nul .jpg"),
        ("CONIN$", "_CONIN$"),
        ("a.jpg. .", "a.jpg"),
        ("a\u0085b\u2028c", "a_b_c"),
        ("a\x00b", "a_b"),
        ("é" * 200 + ".jpeg", "é" * 87 + ".jpeg"),
    ],
)
def test_names_that_a_file_system_refuses(name, safe):
    assert safe_path(name) == safe


@pytest.mark.parametrize(
    ("title", "header"),
    [
        ("Rome", 'filename="Rome.csv"'),
        ("Été 2024", "filename=\"Ete 2024.csv\"; filename*=UTF-8''%C3%89t%C3%A9%202024.csv"),
        ("犬", "filename=\"bat_1.csv\"; filename*=UTF-8''%E7%8A%AC.csv"),
        ("100%25", "filename=\"100_25.csv\"; filename*=UTF-8''100%2525.csv"),
        ('a"; filename="evil.exe', 'filename="a_; filename=_evil.exe.csv"'),
        ("a\r\nSet-Cookie: b", 'filename="a Set-Cookie_ b.csv"'),
        ("../../etc/passwd", 'filename="_.._etc_passwd.csv"'),
        ("..\\x", 'filename="_x.csv"'),
        (".hidden", 'filename="hidden.csv"'),
        ("NUL", 'filename="_NUL.csv"'),
        ("  a \t b  ", 'filename="a b.csv"'),
        ("gpj\u202e.exe", 'filename="gpj.exe.csv"'),
        ("", 'filename="bat_1.csv"'),
        (" . ", 'filename="bat_1.csv"'),
        (None, 'filename="bat_1.csv"'),
        (["x"], 'filename="bat_1.csv"'),
    ],
)
def test_a_download_is_called_as_its_batch(title, header):
    assert attachment(title, "bat_1", ".csv") == f"attachment; {header}"


@given(st.text())
def test_any_title_makes_a_header(title):
    header = attachment(title, "bat_1", ".coco.json")
    assert header.isascii()
    assert header.isprintable()
    assert header.count('"') == 2
    assert len(header) < 800
    *_, last = header.rpartition("; ")
    name = unquote(last.removeprefix("filename*=UTF-8''")) if "filename*" in last else last[10:-1]
    assert name.endswith(".coco.json")
    assert len(name.encode()) < 200
    assert not set(name) & set('/\\<>:"|?*')
    assert not name.startswith(".")


def test_the_title_of_a_batch_names_its_download(web):
    batch = web.batch(metadata={"title": "Été à Rome"})
    answer = web.client.get(f"/api/v1/batches/{batch}/export?format=xmp")
    assert answer.headers["Content-Disposition"] == (
        "attachment; filename=\"Ete a Rome.xmp.zip\"; filename*=UTF-8''%C3%89t%C3%A9%20%C3%A0%20Rome.xmp.zip"
    )


def test_names_are_kept_where_they_can_be():
    assert safe_path("Été 2024/é (1).jpg") == "Été 2024/é (1).jpg"
    assert safe_path("C:\\photos\\..\\a?.jpg") == "C_/photos/a_.jpg"
    assert safe_path("/etc/../NUL.txt") == "etc/_NUL.txt"
    assert safe_path("a.xmp/b.jpg") == "a.xmp_/b.jpg"
    assert safe_path("é" * 500) == "é" * 90
    unique = UniqueNames()
    assert [unique("x/a.jpg") for _ in range(3)] == ["x/a.jpg", "x/a (2).jpg", "x/a (3).jpg"]


@given(tags=st.lists(st.text()), caption=st.text())
def test_a_sidecar_is_xml_whatever_is_in_it(tags, caption):
    packet = ElementTree.fromstring(sidecar(_image(1, tags, caption)))
    assert len(packet.findall(".//dc:subject//rdf:li", XMP)) == len(tags)


class Many:
    """A catalogue with one batch of `count` images, which are created when they are read."""

    def __init__(self, count: int, *, deleted: bool = False) -> None:
        self.count = count
        self.deleted = deleted
        self.pages = 0

    def list_results(self, batch_id: str, limit: int, after: int = 0) -> list[Image]:
        self.pages += 1
        numbers = range(after + 1, min(after + limit, self.count) + 1)
        return [_image(number, [f"tag {number % 50}", "dog", "sofa"], None) for number in numbers]

    def read_change(self, batch_id: str) -> int:
        if self.deleted:
            raise NoSuchBatch("there is no batch")
        return 1


def _image(number: int, tags: list[str], caption: str | None) -> Image:
    said = [{"name": name, "confidence": 0.5, "source": "model", "instances": []} for name in tags]
    return Image(
        id=f"img_{number:022}",
        batch_id="bat",
        position=number,
        change=number,
        name=f"holiday/{number}.jpg",
        sha256="0" * 64,
        bytes=80_000,
        status="succeeded",
        error=None,
        caption=caption,
        tags=said,
        timings=None,
        tagger="resnet50@1",
        created_at=1e9,
        finished_at=1e9,
    )


@pytest.mark.parametrize("write", WRITERS)
def test_ten_thousand_images_are_written_in_flat_memory(write: Callable[[Source], Iterator[bytes]]):
    """Every piece is small, and little more than one page is held."""
    written = largest = 0
    tracemalloc.start()
    try:
        for piece in write(Source(Many(10_000), "bat")):
            written += len(piece)
            largest = max(largest, len(piece))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert written > 2 << 20
    assert largest < 2 << 20
    assert peak < 3 << 20


@pytest.mark.parametrize("write", WRITERS)
def test_it_begins_before_all_is_read(write):
    many = Many(10_000)
    pieces = (piece for piece in write(Source(many, "bat")) if len(piece) > 1000)
    next(pieces)
    assert many.pages <= 5


@pytest.mark.parametrize("write", WRITERS)
def test_an_export_of_a_batch_that_is_deleted_meanwhile_breaks_off(write):
    with pytest.raises(NoSuchBatch):
        list(write(Source(Many(300, deleted=True), "bat")))


def test_coco_has_no_annotation_of_an_image_that_came_after_its_list():
    class Growing(Many):
        def list_results(self, batch_id: str, limit: int, after: int = 0) -> list[Image]:
            page = super().list_results(batch_id, limit, after)
            if not page:
                self.count = 9
            return page

    coco = json.loads(b"".join(as_coco(Source(Growing(3), "bat"))))
    assert {image["id"] for image in coco["images"]} == {one["image_id"] for one in coco["annotations"]} == {1, 2, 3}


def test_the_archive_unpacks_into_its_folder(tmp_path: Path):
    class Hostile(Many):
        def list_results(self, batch_id: str, limit: int, after: int = 0) -> list[Image]:
            names = ["../../out.jpg", "/abs.jpg", "C:\\x.jpg", "a.jpg", "A.jpg", "a.jpg", "a.jpg.xmp/b.jpg"]
            found = [_image(number, ["dog"], None) for number in range(1, len(names) + 1)]
            named = [_renamed(image, name) for image, name in zip(found, names, strict=True)]
            return [image for image in named if image.position > after]

    data = b"".join(as_sidecars(Source(Hostile(0), "bat")))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert all(safe_path(name) == name for name in archive.namelist())
        archive.extractall(tmp_path / "here")
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 7
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


def _renamed(image: Image, name: str) -> Image:
    return Image(**({field: getattr(image, field) for field in Image.__slots__} | {"name": name}))
