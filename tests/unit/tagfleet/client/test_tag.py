"""`tagfleet tag` against a deployment in memory."""

from __future__ import annotations

import csv
import io
import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tagfleet import client
from tagfleet.cli.tag import command
from tagfleet.tagging import report
from tagfleet.tagging.journal import Journal
from tagfleet.testing import Deployment, Failed

Tag = Callable[..., Result]


def batches(service: Deployment) -> list[client.Batch]:
    """All of them, the oldest first."""
    return [*service.client().batches()][::-1]


def names_in(service: Deployment) -> set[str]:
    """The names of the photos in the first batch."""
    return {item.name for item in service.client().results(batches(service)[0])}


def options_of(service: Deployment) -> dict[str, Any]:
    """The options that the last batch was made with."""
    return next(
        one.json["options"] for one in reversed(service.faults.requests) if one.path == "/api/v1/batches" and one.body
    )


@pytest.fixture
def tag(service, tmp_path) -> Tag:
    environment = {"TAGFLEET_URL": service.url, "TAGFLEET_CACHE": str(tmp_path / "cache"), "TAGFLEET_HOME": "/nowhere"}
    return lambda *arguments: CliRunner(env=environment).invoke(command, [str(argument) for argument in arguments])


@pytest.fixture
def album(tmp_path) -> Path:
    folder = tmp_path / "album"
    for name in ("a.jpg", "rome/b.HEIC", "rome/no-extension", ".hidden/c.jpg", ".d.jpg", "notes.txt", "film.mp4"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return folder


def test_a_folder_gets_its_tags(service, tag, album):
    result = tag(album)
    assert result.exit_code == 0, result.output
    assert [line.split(maxsplit=1) for line in result.stdout.splitlines()] == [
        ["a.jpg", "dog 93%"],
        ["rome/b.HEIC", "dog 93%"],
        ["rome/no-extension", "dog 93%"],
    ]
    passed_over = "2 hidden (.d.jpg, .hidden); 2 not images by their extension (film.mp4, notes.txt)"
    assert f"4 files were passed over: {passed_over}\n" in result.stderr
    assert "3 of 3 images tagged, in" in result.stderr
    assert [batch.status for batch in batches(service)] == ["completed"]


def test_a_file_that_is_given_by_name_is_sent_whatever_it_is(service, tag, album):
    assert tag(album / "notes.txt").exit_code == 0
    assert service.faults.uploads() == [["notes.txt"]]


def test_folders_are_walked_without_following_links(service, tag, album):
    (album / "round").symlink_to(album)
    (album / "nowhere.jpg").symlink_to(album / "gone.jpg")
    (album / "copy.jpg").symlink_to(album / "a.jpg")
    (album / "scan.bin").write_bytes(b"who knows")
    result = tag(album)
    assert service.faults.uploads() == [["a.jpg", "copy.jpg", "scan.bin", "rome/b.HEIC", "rome/no-extension"]]
    assert "2 links to folders or to nothing (nowhere.jpg, round)" in result.stderr


def test_what_cannot_be_looked_at_is_said_and_the_rest_is_sent(service, tag, tmp_path):
    """Paths that are too long stand for folders and files without permission, which root has everywhere."""
    folder = tmp_path / "album"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(b"a")
    name, length = "d" * 200, len(str(folder))
    here = os.open(folder, os.O_RDONLY)
    while length < 4096:
        os.mkdir(name, dir_fd=here)
        below, length = os.open(name, os.O_RDONLY, dir_fd=here), length + 201
        os.close(here)
        here = below
        if length < 4096 <= length + 201:
            os.close(os.open("n" * 200, os.O_WRONLY | os.O_CREAT, dir_fd=here))
    os.close(here)
    result = tag(folder)
    assert result.exit_code == 0, result.output
    assert service.faults.uploads() == [["a.jpg"]]
    assert "2 files were passed over: 2 cannot be read (ddd" in result.stderr


def test_names_are_cleaned_as_the_service_does(service, tag, tmp_path):
    folder = tmp_path / "odd names"
    folder.mkdir()
    for name in (b"new\nline.jpg", b"latin-\xe9.jpg", b'quote".jpg'):
        (folder / os.fsdecode(name)).write_bytes(name)
    tag(folder)
    assert sorted(service.faults.uploads()[0]) == ["latin-�.jpg", "new�line.jpg", 'quote".jpg']


def test_names_of_several_folders_do_not_collide(service, tag, album, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.jpg").write_bytes(b"another")
    again = tmp_path / "again" / "other"
    again.mkdir(parents=True)
    (again / "a.jpg").write_bytes(b"a third")
    assert tag(album, other, again, album / "a.jpg", album).exit_code == 0
    [names] = service.faults.uploads()
    assert names == [
        "album/a.jpg",
        "album/rome/b.HEIC",
        "album/rome/no-extension",
        "other/a.jpg",
        str(again / "a.jpg").lstrip("/"),
        "a.jpg",
    ]


@pytest.mark.parametrize("settings_of_service", [{"pools.lite.tagger": "efficientnet-lite0"}])
def test_the_options_reach_the_service(service, tag, album):
    tag(album, "--tagger", "lite", "--top-k", "3", "--min-confidence", "0.5")
    assert batches(service)[0].tagger == "lite"
    assert options_of(service) == {"top_k": 3, "min_confidence": 0.5}


def test_florence2_is_asked_by_options(service, tag, album):
    asked = ["--task", "caption", "--task", "find", "--candidate", "red car", "--cumulative", "0.9"]
    tag(album, *asked)
    wanted = {"cumulative": 0.9, "tasks": ["caption", "find"], "candidates": ["red car"]}
    assert options_of(service) == wanted
    for wrong in (["--task", "find"], ["--task", "detect", "--candidate", "car"], ["--task", "sing"]):
        assert tag(album, *wrong).exit_code == 2


def test_a_caption_stands_beside_the_tags():
    out = io.StringIO()
    boxed = client.Tag("dog", None, instances=[{"box": [0, 0, 1, 1], "confidence": None}])
    items = [
        client.Item("img_1", "bat_1", name, "", 1, "succeeded", caption=caption, tags=tags)
        for name, caption, tags in (("a.jpg", "a dog\x1b", [boxed]), ("b.jpg", "a dog", []), ("c.jpg", None, []))
    ]
    report.write(items, "table", out)
    said = [line.split(maxsplit=1)[1] for line in out.getvalue().splitlines()]
    assert said == ["dog  “a dog\N{REPLACEMENT CHARACTER}”", "“a dog”", "no tag reaches the minimum confidence"]


def test_what_failed_is_said_with_its_reason(service, tag, album):
    damaged = Failed("b.HEIC is damaged: 3 bytes are missing")
    service.tagger.answer = lambda photo: damaged if "b.HEIC" in photo.name else {"dog": 0.93}
    result = tag(album)
    assert result.exit_code == 1
    assert "rome/b.HEIC: b.HEIC is damaged: 3 bytes are missing\n" in result.stderr
    assert "2 of 3 images tagged, 1 failed" in result.stderr


def test_a_batch_that_somebody_cancelled_is_not_called_tagged(service, tag, album):
    service.tagger.answer = lambda photo: None if photo.name == "a.jpg" else {"dog": 0.93}

    def cancel() -> None:
        client = service.client()
        while not [batch for batch in client.batches() if batch.completed == 2 and batch.status == "in_progress"]:
            time.sleep(0.01)  # bounded by the test's timeout
        client.cancel(next(client.batches()))

    with ThreadPoolExecutor(1) as other:
        somebody = other.submit(cancel)
        result = tag(album)
        somebody.result()
    assert result.exit_code == 1
    assert "2 of 3 images tagged, 1 cancelled, in" in result.stderr


def test_what_the_service_has_is_not_sent_again(service, tag, album):
    tag(album)
    service.faults.requests.clear()
    (album / "new.jpg").write_bytes(b"new")
    result = tag(album)
    assert result.exit_code == 0, result.output
    assert service.faults.uploads() == [["new.jpg"]]
    assert "4 of 4 images tagged" in result.stderr


def test_csv_and_jsonl(service, tag, album, tmp_path):
    rows = list(csv.DictReader(io.StringIO(tag(album, "--format", "csv").stdout)))
    assert rows[0] == {
        "name": "a.jpg",
        "status": "succeeded",
        "tags": "dog",
        "confidences": "0.9300",
        "caption": "",
        "error": "",
    }
    out = tmp_path / "tags.jsonl"
    result = tag(album, "--format", "jsonl", "--output", out)
    assert result.stdout == ""
    assert [json.loads(line)["name"] for line in out.read_text().splitlines()] == [row["name"] for row in rows]
    assert [path.name for path in tmp_path.iterdir() if "part" in path.name] == []


def test_a_spreadsheet_runs_nothing_of_a_name(service, tag, album):
    (album / "=HYPERLINK(A1).jpg").write_bytes(b"h")
    [row, *_] = csv.DictReader(io.StringIO(tag(album, "--format", "csv").stdout))
    assert (row["name"], row["tags"]) == ("'=HYPERLINK(A1).jpg", "dog")


def test_a_file_opens_in_a_spreadsheet_and_a_plain_one_in_a_program(service, tag, album, tmp_path):
    (album / "犬 =1.jpg").write_bytes(b"d")
    (album / " =1.jpg").write_bytes(b"h")
    for options, start, name in (((), b"\xef\xbb\xbfname,", "' =1.jpg"), (("--plain",), b"name,", " =1.jpg")):
        out = tmp_path / "tags.csv"
        assert tag(album, "--format", "csv", "--output", out, *options).exit_code == 0
        assert out.read_bytes().startswith(start)
        rows = list(csv.DictReader(io.StringIO(out.read_text(encoding="utf-8-sig"))))
        assert {name, "犬 =1.jpg"} <= {row["name"] for row in rows}


def test_each_tag_of_a_cell_is_no_formula():
    """Spreadsheets of many languages take the `;` between tags for the end of a cell."""
    tags = [client.Tag(name, None) for name in ("=1", "dog", "@x")]
    out = io.StringIO()
    report.write([client.Item("img_1", "bat_1", "a.jpg", "", 1, "succeeded", tags=tags)], "csv", out)
    [row] = csv.DictReader(io.StringIO(out.getvalue()))
    assert row["tags"] == "'=1;dog;'@x"


def test_a_file_that_cannot_be_written_is_said_before_anything_is_sent(service, tag, album, tmp_path):
    result = tag(album, "--format", "csv", "--output", tmp_path / "gone" / "tags.csv")
    assert result.exit_code == 1
    assert f"Error: {tmp_path}/gone/tags.csv: No such file or directory" in result.stderr
    assert batches(service) == []


def test_a_batch_is_called_after_its_folder(service, tag, album):
    tag(album / "rome" / "..")
    tag(album / "rome")
    tag(album / "a.jpg")
    tag(album, album / "rome")
    assert [batch.metadata.get("title") for batch in batches(service)] == ["album", "rome", None, None]


def test_an_interrupted_upload_goes_on_and_sends_nothing_twice(service, tag, album):
    for number in range(30):
        (album / f"more{number:02}.jpg").write_bytes(bytes([number]))
    service.faults.refuses_next("/images", 400, "not now")
    assert tag(album).exit_code == 1
    (album / "a.jpg").write_bytes(b"it was changed meanwhile")
    arrived = names_in(service)
    assert 0 < len(arrived) < 33
    service.faults.requests.clear()
    result = tag(album)
    assert result.exit_code == 0, result.output
    resent = [name for names in service.faults.uploads() for name in names]
    everything = names_in(service)
    assert sorted(resent) == sorted(everything - arrived | {"a.jpg"})
    assert len(batches(service)) == 1
    assert f"{33 - len(resent)} of 33 images are uploaded already" in result.stderr


def test_a_finished_batch_is_not_gone_on_with(service, tag, album):
    tag(album)
    tag(album)
    assert len(batches(service)) == 2


def test_a_service_that_lost_the_batch_gets_a_new_one(service, tag, album):
    service.faults.refuses_next("/images", 400, "not now")
    tag(album)
    (lost,) = batches(service)
    service.client().delete(lost)
    assert tag(album).exit_code == 0
    (batch,) = batches(service)
    assert batch.id != lost.id


def test_nobody_there(tag, album, service):
    url = "http://127.0.0.1:9"
    result = tag(album, "--url", url)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == f"Error: no Tagfleet at {url}: start it with `tagfleet up`"


def test_wrong_usage(tag, tmp_path):
    assert tag(tmp_path / "nothing.jpg").exit_code == 2
    assert tag().exit_code == 2
    assert "nothing to tag" in tag(tmp_path).stderr


def test_an_interrupted_upload_goes_on_with_names_of_another_form(service, tag, album):
    """The same folder, of which another system gives out the names composed."""
    (album / "e\u0301.jpg").write_bytes(b"e")
    service.faults.refuses_next("/close", 404, "not now")
    assert tag(album).exit_code == 1
    service.faults.requests.clear()
    (album / "e\u0301.jpg").rename(album / "\u00e9.jpg")
    result = tag(album)
    assert result.exit_code == 0, result.output
    assert "4 of 4 images are uploaded already" in result.stderr
    assert service.faults.uploads() == []
    assert len(batches(service)) == 1


def test_a_folder_is_the_same_one_where_the_disk_says_so(tmp_path):
    """macOS opens a folder by both forms of its name; where they are two folders, each has a journal of its own."""
    composed, decomposed = tmp_path / "\u00e9", tmp_path / "e\u0301"
    decomposed.mkdir()
    journals = [Journal(tmp_path / "journals", "u", [path], {}) for path in (composed, decomposed)]
    journals[0].begin("bat_0")
    assert journals[1].batch_id() is None
    composed.symlink_to(decomposed)  # which stands for a disk that takes both for one
    Journal(tmp_path / "journals", "u", [composed], {}).begin("bat_1")
    assert Journal(tmp_path / "journals", "u", [decomposed], {}).batch_id() == "bat_1"
