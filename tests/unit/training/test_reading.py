from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.errors import DataInvalid
from tests.unit.training.sources import SIZE, coco, pictures
from training.data.examples import Dataset
from training.data.reading import inspect, read


def tags(dataset: Dataset) -> dict[str, set[str]]:
    return {dataset.relative_name(one): {dataset.labels[label] for label in one.labels} for one in dataset.examples}


def said(source: Path, images: Path | None = None) -> str:
    with pytest.raises(DataInvalid) as error:
        read(source, images)
    return str(error.value)


def kinds(source: Path) -> list[tuple[str, str]]:
    return [(finding.level, finding.kind) for finding in inspect(source).findings]


class TestCoco:
    def test_labels_and_images_without_any(self, tmp_path):
        dataset = read(coco(tmp_path))
        assert dataset.labels == ("dog", "cat")
        assert tags(dataset) == {"a.png": {"cat", "dog"}, "b.png": {"dog"}, "c.png": set()}
        assert read(tmp_path) == dataset
        assert not inspect(tmp_path).findings

    def test_the_layout_in_which_it_is_published(self, tmp_path):
        made = coco(tmp_path)
        (tmp_path / "annotations").mkdir()
        made.rename(tmp_path / "annotations" / "instances_val2017.json")
        (tmp_path / "images").rename(tmp_path / "val2017")
        assert len(read(tmp_path / "annotations" / "instances_val2017.json").examples) == 3

    def test_images_elsewhere_must_be_named(self, tmp_path):
        made = coco(tmp_path / "here")
        (tmp_path / "here" / "images").rename(tmp_path / "there")
        assert "--images" in said(made)
        assert len(read(made, tmp_path / "there").examples) == 3

    @pytest.mark.parametrize(
        ("changes", "text"),
        [
            ({"annotations": [{"image_id": 0, "category_id": 5}]}, "annotations[0]: category 5 is not among its 2"),
            ({"annotations": [{"image_id": 77, "category_id": 7}]}, "annotations[0]: image 77 is not among its images"),
            ({"annotations": [{"image_id": 0}]}, "annotations[0]: category_id: Field required"),
            ({"annotations": []}, "none of its images has a label"),
            ({"images": []}, "image 0 is not among its images"),
            ({"images": [{"id": 0, "file_name": "../a.png"}], "annotations": []}, "'../a.png' is not in"),
            ({"images": [{"id": 0, "file_name": "gone.png"}], "annotations": []}, "image 0: 'gone.png' is not in"),
            ({"categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "dog"}]}, "category 3 'dog' occurs twice"),
            ({"categories": None}, "it has no list 'categories'"),
        ],
    )
    def test_what_is_wrong_is_said_with_its_place(self, tmp_path, changes, text):
        message = said(coco(tmp_path, **changes))
        assert message.startswith(f"{tmp_path / 'instances.json'}")
        assert text in message

    def test_json_that_breaks_off(self, tmp_path):
        made = coco(tmp_path)
        made.write_text('{"images": [],\n "annotations": [')
        assert said(made) == f"{made}:2: not valid JSON: Expecting value at column 18"

    def test_json_that_is_no_text(self, tmp_path):
        made = coco(tmp_path)
        made.write_bytes(b'{"images": "K\xe4se"}')
        assert said(made) == f"{made} is not UTF-8: invalid continuation byte at byte 13"

    def test_boxes_outside_are_no_obstacle(self, tmp_path):
        boxes = ([0, 0, *SIZE], [-5, 0, 9, 9], [40, 30, 20, 3], [3, 3, 0, 4])
        made = coco(tmp_path, annotations=[{"image_id": 0, "category_id": 7, "bbox": list(box)} for box in boxes])
        found = [finding for finding in inspect(made).findings if finding.kind == "box outside"]
        assert [finding.text.partition(",")[0] for finding in found] == [
            f"the box of annotations[{number}]" for number in (1, 2, 3)
        ]
        assert len(read(made).examples) == 3

    def test_orphans_and_empty_classes_are_no_obstacle(self, tmp_path):
        made = coco(tmp_path, annotations=[{"image_id": 0, "category_id": 7}])
        pictures(tmp_path / "images", "deep/stray.png")
        assert set(kinds(made)) == {("warning", "orphan image"), ("warning", "one class"), ("warning", "empty class")}
        assert len(read(made).examples) == 3


class TestCsv:
    def write(self, folder: Path, text: str) -> Path:
        pictures(folder, "a.png", "b.png", "sub/c.png")
        path = folder / "labels.csv"
        path.write_text(text, encoding="utf-8")
        return path

    def test_labels_in_one_column(self, tmp_path):
        self.write(tmp_path, "file,labels\na.png,dog; cat\nb.png,dog\nsub/c.png,\n")
        dataset = read(tmp_path)
        assert dataset.labels == ("cat", "dog")
        assert tags(dataset) == {"a.png": {"cat", "dog"}, "b.png": {"dog"}, "sub/c.png": set()}

    def test_a_column_for_each_label(self, tmp_path):
        made = self.write(tmp_path, "\ufefffile,group,dog,cat\r\na.png,1,1,1\r\nb.png,1,1,0\r\nsub/c.png,,0,\r\n")
        dataset = read(made)
        assert dataset.labels == ("dog", "cat")
        assert tags(dataset) == {"a.png": {"cat", "dog"}, "b.png": {"dog"}, "sub/c.png": set()}
        assert [one.group for one in dataset.examples] == ["group 1", "group 1", "sub/c.png"]

    @pytest.mark.parametrize(
        ("text", "line"),
        [
            ("name,labels\n", "1: the column `file` is missing"),
            ("file\na.png\n", "1: add a column `labels`, or"),
            ("file,labels,dog\n", "1: with a column `labels`, remove"),
            ("file,dog,dog\n", "1: each column needs a unique name"),
            ("file,dog,cat\na.png,1,0\nb.png,2,0\n", "3: column 'dog' has '2'"),
            ("file,labels\na.png,dog\ngone.png,cat\n", "3: 'gone.png' is not in"),
            ("file,labels\na.png,dog\na.png,cat\n", "3: 'a.png' has an earlier line"),
            ("file,labels\na.png,dog\nb.png\n", "3: the line needs 2 columns"),
            ("file,labels\na.png,dog\nb.png,cat,cow\n", "3: the line needs 2 columns"),
            ('file,labels\na.png,"dog\n', "2: not valid csv: unexpected end of data"),
            ("file,labels\na.png,dog\nb.png,dog\n", " every image has only the label 'dog'"),
            ("file,labels\na.png,dog\nb.png,Dog\n", " 'Dog' and 'dog' are the same tag to Tagfleet"),
            ("file,labels\n", " it has no labelled image"),
            ("", "1: the column `file` is missing"),
        ],
    )
    def test_what_is_wrong_is_said_with_its_line(self, tmp_path, text, line):
        made = self.write(tmp_path, text)
        assert said(made).startswith(f"{made}:{line}")

    def test_more_errors_are_counted(self, tmp_path):
        made = self.write(tmp_path, "file,labels\nx.png,dog\ny.png,dog\na.png,dog\nb.png,\n")
        assert said(made, tmp_path).endswith(f"(1 more: `tagfleet data check {made}` lists them)")

    def test_no_utf8(self, tmp_path):
        made = self.write(tmp_path, "")
        made.write_bytes("file,labels\na.png,Käse\n".encode("latin-1"))
        assert "is not UTF-8" in said(made)

    def test_a_first_line_without_end(self, tmp_path):
        made = self.write(tmp_path, f'"{"a" * 200_000}')
        assert said(made) == f"{made}:1: not valid csv: field larger than field limit (131072)"


class TestExports:
    def item(self, name: str, *tags: tuple[str, str], edited: bool = True) -> str:
        listed = [{"name": tag, "source": source, "confidence": None} for tag, source in tags]
        words = {"image_id": name, "name": name, "sha256": "ab" * 32, "edited": edited, "tags": listed, "status": "x"}
        return json.dumps(words) + "\n"

    def test_images_that_a_person_touched_with_all_tags_that_stand(self, tmp_path):
        pictures(tmp_path / "images", "a.png", "b.png", "c.png", "d.png")
        made = tmp_path / "batch.jsonl"
        made.write_text(
            self.item("a.png", ("Dog", "model"), ("grass", "person"))
            + self.item("b.png", ("dog", "person"))
            + self.item("c.png")
            + self.item("d.png", ("dog", "model"), edited=False)
        )
        dataset = read(made)
        assert tags(dataset) == {"a.png": {"Dog", "grass"}, "b.png": {"Dog"}, "c.png": set()}
        assert not inspect(made).findings
        assert set(inspect(made).hashes.values()) == {"ab" * 32}

    def test_csv(self, tmp_path):
        pictures(tmp_path, "a.png", "b.png", "-c.png")
        made = tmp_path / "batch.csv"
        made.write_text(
            "image_id,name,sha256,bytes,status,error,caption,tagger,tag,confidence,source\r\n"
            "1,a.png,,9,succeeded,,,resnet50@1,dog,0.9,model\r\n"
            "1,a.png,,9,succeeded,,,resnet50@1,'=odd,,person\r\n"
            "2,b.png,,9,succeeded,,,resnet50@1,dog,0.9,model\r\n"
            "3,'-c.png,,9,succeeded,,,resnet50@1,dog,,person\r\n"
        )
        assert tags(read(made)) == {"a.png": {"dog", "=odd"}, "-c.png": {"dog"}}

    def test_nothing_was_corrected(self, tmp_path):
        pictures(tmp_path, "a.png")
        made = tmp_path / "batch.jsonl"
        made.write_text(self.item("a.png", ("dog", "model"), edited=False))
        assert "no person corrected any of its images" in said(made)

    def test_a_line_that_is_none(self, tmp_path):
        pictures(tmp_path, "a.png")
        made = tmp_path / "batch.jsonl"
        made.write_text(self.item("a.png", ("dog", "person")) + "{}\n")
        assert said(made).startswith(f"{made}:2: image_id: Field required")

    def test_originals_that_are_not_there(self, tmp_path):
        pictures(tmp_path / "images", "a.png")
        made = tmp_path / "batch.jsonl"
        made.write_text(self.item("a.png", ("dog", "person")) + self.item("b.png", ("cat", "person")))
        assert said(made).startswith(f"{made}:2: 'b.png' is not in {tmp_path / 'images'}: an export has no images")


class TestFolders:
    def test_a_folder_for_each_class(self, tmp_path):
        pictures(tmp_path, "cat/1.png", "cat/more/2.png", "dog/1.png", ".hidden/1.png", "dog/.thumb.png")
        dataset = read(tmp_path)
        assert tags(dataset) == {"cat/1.png": {"cat"}, "cat/more/2.png": {"cat"}, "dog/1.png": {"dog"}}
        assert dataset.name == tmp_path.name

    def test_what_is_no_image_is_left_out(self, tmp_path):
        pictures(tmp_path, "cat/1.png", "dog/1.png", "stray.png")
        (tmp_path / "cat" / "notes.txt").write_text("?")
        assert kinds(tmp_path) == [("warning", "orphan image")] * 2

    def test_folders_elsewhere_that_are_linked_and_a_link_in_a_circle(self, tmp_path):
        root = tmp_path / "animals"
        pictures(tmp_path, "elsewhere/1.png", "animals/cat/1.png")
        (root / "dog").symlink_to(tmp_path / "elsewhere")
        (root / "cat" / "again").symlink_to(root)
        assert tags(read(root)) == {"cat/1.png": {"cat"}, "dog/1.png": {"dog"}}

    def test_one_class_only(self, tmp_path):
        pictures(tmp_path, "cat/1.png", "cat/2.png")
        assert "to learn the difference" in said(tmp_path)

    def test_an_empty_class_is_only_a_warning(self, tmp_path):
        pictures(tmp_path, "cat/1.png", "dog/1.png")
        (tmp_path / "cow").mkdir()
        assert kinds(tmp_path) == [("warning", "empty class")]
        assert read(tmp_path).labels == ("cat", "cow", "dog")


@pytest.mark.parametrize("name", ["gone", "empty", "notes.txt"])
def test_no_source(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("?")
    assert str(tmp_path / name) in said(tmp_path / name)


def test_two_candidates_in_one_folder(tmp_path):
    coco(tmp_path)
    (tmp_path / "labels.csv").write_text("file,labels\n")
    assert said(tmp_path).endswith("name one of instances.json, labels.csv")


def test_cocos_own_folder_is_none_of_classes(tmp_path):
    pictures(tmp_path, "train2017/1.png", "val2017/2.png")
    (tmp_path / "annotations").mkdir()
    for name in ("instances_train2017.json", "captions_val2017.json"):
        (tmp_path / "annotations" / name).write_text("{}")
    listed = f"{tmp_path}/annotations/captions_val2017.json, {tmp_path}/annotations/instances_train2017.json"
    assert said(tmp_path).endswith(f"name one of {listed}")


def test_real_annotations(data):
    dataset = read(data / "coco")
    assert (len(dataset.labels), len(dataset.examples)) == (80, 64)
    assert dataset.counts()[0] == 35
    assert {kind for _, kind in kinds(data / "coco")} == {"empty class"}
