"""`tagfleet data check` finds problems, above all images that are in both training and test parts."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image, ImageOps

from core.errors import TrainingStopped
from tagfleet.cli import cli
from tests.unit.training.sources import coco, picture, pictures
from training.data import fingerprints, reading, splits
from training.data.augmentation import Augmented, Strength
from training.data.check import Check, check
from training.data.examples import Dataset, Example
from training.data.splits import Splits


def run(*arguments: str | Path) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(cli, ["data", *map(str, arguments)])


def checked(source: Path, split: Splits | None = None) -> Check:
    found = reading.inspect(source)
    return check(found, fingerprints.compute_fingerprints(one.path for one in found.dataset.examples), split)


def kinds(found: Check) -> set[tuple[str, str]]:
    return {(finding.level, finding.kind) for finding in found.findings}


@pytest.fixture
def source(tmp_path) -> Path:
    """Two classes of ten images."""
    root = tmp_path / "animals"
    pictures(root, *(f"{name}/{number}.png" for name in ("cat", "dog") for number in range(10)))
    return root


def leaky(source: Path, changed: Image.Image) -> Splits:
    """Return a split with one test image replaced by `changed`, which is made from a training image."""
    parts = splits.split(reading.read(source), (60, 20, 20))
    changed.save(parts.test.examples[0].path)
    return parts


def first_of_training(source: Path) -> Image.Image:
    parts = splits.split(reading.read(source), (60, 20, 20))
    return Image.open(parts.train.examples[0].path).convert("RGB")


class TestLeaks:
    @pytest.mark.parametrize(
        "changed",
        [
            lambda image: image,
            lambda image: image.resize((200, 150)),
            ImageOps.mirror,
            lambda image: ImageOps.autocontrast(ImageOps.mirror(image)).resize((100, 90)),
        ],
        ids=["copied", "resized", "mirrored", "all of it"],
    )
    def test_a_changed_copy_of_a_training_image_in_the_test_part_is_found(self, source, changed):
        parts = leaky(source, changed(first_of_training(source)))
        found = checked(source, parts)
        assert not found.sound
        [leak] = [finding for finding in found.findings if finding.kind == "leak"]
        assert leak.where == str(parts.test.examples[0].path)
        assert leak.text.startswith(f"it is in test, and {parts.train.examples[0].path} in train: ")
        assert [pair.parts for pair in found.pairs if pair.leaks] == [("train", "test")]

    def test_an_augmented_training_image_in_the_test_part_is_found(self, source):
        parts = splits.split(reading.read(source), (60, 20, 20))
        strength = Strength(smallest_cut=0.97, degrees=0.5, operations=0, mirror=1.0)
        view = Augmented(parts.train, lambda path: Image.open(path).convert("RGB"), 40, 1, strength)
        Image.fromarray(view.pixels(0, epoch=1)).save(parts.test.examples[0].path)
        assert ("error", "leak") in kinds(checked(source, parts))

    def test_a_split_by_copies_has_none(self, source):
        for number in range(10):
            path = source / "cat" / f"{number}.png"
            ImageOps.mirror(Image.open(path)).save(source / "cat" / f"copy of {number}.png")
        for seed in range(3):
            assert run("split", source, "--output", source.parent / "splits.json", "--seed", seed).exit_code == 0
            done = run("check", source, "--splits", source.parent / "splits.json", "--json")
            assert done.exit_code == 0
            copies = json.loads(done.stdout)["copies"]
            assert len(copies) == 10
            assert not any(pair["leaks"] for pair in copies)

    def test_a_group_of_the_csv_that_a_split_tore_apart(self, source):
        rows = [f"{name}/{number}.png,{name},{number // 5}\n" for name in ("cat", "dog") for number in range(10)]
        (source / "labels.csv").write_text("file,labels,group\n" + "".join(rows))
        dataset = reading.read(source)
        blind = splits.split(
            Dataset(
                dataset.name,
                dataset.labels,
                tuple(Example(one.path, one.labels, str(one.path)) for one in dataset.examples),
                dataset.root,
            )
        )
        assert ("error", "leak") in kinds(checked(source, blind))


class TestFindings:
    def test_nothing_is_wrong(self, source):
        found = checked(source)
        assert (found.findings, found.sound, found.imbalance) == ((), True, 1.0)
        assert [(one.label, one.images) for one in found.labels] == [("cat", 10), ("dog", 10)]
        assert found.per_image == (0, 20)

    def test_copies_within_a_part_are_told_with_their_labels(self, source):
        (source / "dog" / "again.png").write_bytes((source / "cat" / "1.png").read_bytes())
        picture(2).resize((200, 150)).save(source / "cat" / "near.png")
        found = checked(source)
        assert kinds(found) == {("warning", "duplicate"), ("warning", "near duplicate")}
        assert found.sound
        assert (
            "the same file, with other labels"
            in {finding.kind: finding.text for finding in found.findings}["duplicate"]
        )

    def test_unreadable_images(self, source):
        (source / "cat" / "0.png").write_bytes(b"no image")
        found = checked(source)
        assert kinds(found) == {("error", "unreadable image")}
        assert len(found.sizes) == 19

    def test_another_size_than_the_annotations_were_made_for(self, tmp_path):
        made = coco(tmp_path)
        picture(1, (36, 48)).save(tmp_path / "images" / "b.png")  # on its side, as a camera may say by EXIF
        picture(2, (36, 36)).save(tmp_path / "images" / "c.png")
        assert [finding.text for finding in checked(made).findings if finding.kind == "other size"] == [
            "it has 36 × 36 pixels, but its labels are for 48 × 36"
        ]

    def test_another_file_than_the_one_that_was_tagged(self, tmp_path):
        pictures(tmp_path, "a.png", "b.png")
        own = fingerprints.compute_fingerprints([tmp_path / "a.png"])[tmp_path / "a.png"].sha256
        lines = (
            {
                "image_id": name,
                "name": name,
                "sha256": sha256,
                "edited": True,
                "tags": [{"name": name, "source": "person"}],
            }
            for name, sha256 in (("a.png", own), ("b.png", own))
        )
        (tmp_path / "batch.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        found = checked(tmp_path)
        assert [finding.where for finding in found.findings] == [str(tmp_path / "b.png")]
        assert kinds(found) == {("warning", "other content")}

    def test_rare_labels(self, tmp_path):
        names = [f"{number}.png" for number in range(60)]
        pictures(tmp_path, *names)
        rows = [f"{name},{'dog;cat' if name == '3.png' else 'dog'}\n" for name in names]
        (tmp_path / "labels.csv").write_text("file,labels\n" + "".join(rows))
        found = checked(tmp_path, splits.split(reading.read(tmp_path)))
        assert kinds(found) == {("warning", "imbalance"), ("warning", "class absent from a part")}
        assert found.imbalance == 60


class TestCommand:
    def test_a_leak_ends_with_1_and_is_said_to_people(self, source):
        parts = leaky(source, ImageOps.mirror(first_of_training(source)))
        splits.save(parts, source.parent / "splits.json", reading.read(source))
        done = run("check", source, "--splits", source.parent / "splits.json")
        assert done.exit_code == 1
        lines = done.stdout.splitlines()
        assert lines[0] == "animals: 20 images, 2 labels; train 12, validation 4, test 4"
        assert re.match(r"cat +10 +6 +2 +2", lines[2])
        assert "error leak: 1" in lines

    def test_the_report_shows_copies_as_pictures(self, source, tmp_path):
        (source / "dog" / "again.png").write_bytes((source / "cat" / "1.png").read_bytes())
        done = run("check", source, "--report", tmp_path / "report")
        assert done.exit_code == 0
        page = (tmp_path / "report" / "check.html").read_text()
        assert page.count('src="data:image/jpeg;base64,') == 2
        assert "<svg" in page
        assert "images by label" in page
        figures = json.loads((tmp_path / "report" / "check.json").read_text())
        assert figures["labels"] == [{"label": "cat", "images": 10}, {"label": "dog", "images": 11}]
        assert [finding["kind"] for finding in figures["findings"]] == ["duplicate"]

    def test_labels_that_are_no_latin_letters_or_look_like_formulas_or_html(self, source, tmp_path):
        labels = ("猫", "$100$ & <b>", "[bold]cow[/]")
        rows = [
            f"{name}/{number}.png,{';'.join(labels[: number % 4])}" for name in ("cat", "dog") for number in range(9)
        ]
        (source / "labels.csv").write_text("file,labels\n" + "\n".join(rows) + "\n", encoding="utf-8")
        done = run("check", source, "--report", tmp_path / "report")
        assert done.exit_code == 0
        assert all(label in done.stdout for label in labels)
        page = (tmp_path / "report" / "check.html").read_text(encoding="utf-8")
        assert page.count("猫") == page.count("$100$ &amp; &lt;b&gt;") == 2

    def test_a_source_that_cannot_be_read_is_one_line(self, tmp_path):
        done = run("check", tmp_path / "gone")
        assert "does not exist; name a file or folder" in str(done.exception)

    @pytest.mark.parametrize("shares", ["80,20", "a,b,c"])
    def test_shares_that_are_none(self, source, shares):
        assert run("split", source, "--output", source.parent / "s.json", "--shares", shares).exit_code == 2

    def test_real_photos(self, data, tmp_path):
        done = run("split", data / "coco", "--output", tmp_path / "splits.json", "--shares", "60,20,20", "--seed", "3")
        assert done.exit_code == 0
        done = run("check", data / "coco", "--splits", tmp_path / "splits.json", "--json")
        assert done.exit_code == 0
        found = json.loads(done.stdout)
        assert sum(found["parts"].values()) == 64
        assert not found["copies"]
        people = found["labels"][0]
        assert (people["label"], people["images"]) == ("person", 35)
        assert 19 <= people["train"] <= 23


@pytest.mark.parametrize(("command", "flag"), [("split", "--output"), ("check", "--report")])
def test_a_folder_that_cannot_be_made_is_told_in_a_sentence(source, tmp_path, command, flag):
    (tmp_path / "file").write_text("no folder")
    done = run(command, source, flag, tmp_path / "file" / "below" / "what")
    assert isinstance(done.exception, TrainingStopped)
    assert re.fullmatch(r"the folder \S+ cannot be made: Not a directory; name another one", str(done.exception))
