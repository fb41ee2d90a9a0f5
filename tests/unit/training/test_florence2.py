"""Fine-tune a tiny Florence-2: it learns, resumes with the same weights, and can be served."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file, save_file

from app_tier.engines.florence2 import Florence2Engine, parse_answer
from app_tier.taggers.florence2 import Florence2Tagger
from config.settings import Settings
from core.domain.messages import TagOptions
from core.errors import DataInvalid, RunInvalid, TrainingStopped
from core.storage import folders
from core.wiring import Backend
from tagfleet.cli.florence2 import command
from tests import tiny_florence2 as tiny
from training.florence2 import examples
from training.florence2.examples import FineTuningExample, LabelledBox
from training.florence2.fine_tuning import Options, tune


@pytest.fixture(scope="module")
def untaught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save(tmp_path_factory.mktemp("untaught"), says=None, places=128)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three photos of one colour each."""
    folder = tmp_path / "images"
    folder.mkdir()
    for name, colour in (("a.jpg", "red"), ("b.jpg", "green"), ("c.jpg", "blue")):
        Image.new("RGB", (40, 20), colour).save(folder / name)
    return folder


def coco(photos: Path, **more: object) -> Path:
    """Write COCO JSON with boxes in pixels, relative boxes, and an image without annotations."""
    content = {
        "images": [{"id": number, "file_name": f"{name}.jpg"} for number, name in enumerate("abc")],
        "categories": [{"id": 7, "name": "red <b>car"}, {"id": 8, "name": "tree"}],
        "annotations": [
            {"image_id": 0, "category_id": 8, "bbox": [20, 10, 20, 10]},
            {"image_id": 0, "category_id": 7, "bbox": [4, 2, 8, 4]},
            {"image_id": 0, "category_id": 8, "bbox": [0, 0, 10, 10]},
            {"image_id": 0, "category_id": 8, "bbox": [50, 0, 10, 10]},
            {"image_id": 1, "category_id": 8, "relative_bbox": [0.25, 0.25, 0.5, 0.5]},
            {"image_id": 2, "category_id": 8},
            {"image_id": 2, "category_id": 7, "bbox": [0, 0, 40, 20], "whole_image": True},
        ],
    } | more
    path = photos.parent / "boxes.json"
    path.write_text(json.dumps(content))
    return path


def test_boxes_become_answers_in_the_models_words(photos: Path) -> None:
    first, second = examples.read_examples(coco(photos))
    trees = "<loc_0><loc_0><loc_250><loc_500><loc_500><loc_500><loc_999><loc_999>"
    assert first == FineTuningExample(
        photos / "a.jpg", "detect", f"tree{trees}red b car<loc_100><loc_100><loc_300><loc_300>"
    )
    assert second == FineTuningExample(photos / "b.jpg", "detect", "tree<loc_250><loc_250><loc_750><loc_750>")


@given(
    st.lists(st.builds(LabelledBox, st.sampled_from(["dog", "a cat"]), st.tuples(*[st.floats(0, 1)] * 4)), max_size=4)
)
def test_an_answer_is_read_as_the_boxes_that_it_was_made_of(things: list[LabelledBox]) -> None:
    class OfTheText:
        @staticmethod
        def post_process_generation(text: str, task: str, image_size: tuple[int, int]) -> dict:
            from transformers.models.florence2.processing_florence2 import Florence2PostProcessor

            tokenizer = type("Tokenizer", (), {"all_special_tokens": ()})
            parser = Florence2PostProcessor({"description_with_bboxes": {}}, tokenizer)
            found = parser(text=text, image_size=image_size, parse_tasks="description_with_bboxes")
            boxed = found["description_with_bboxes"]
            return {task: {"bboxes": [one["bbox"] for one in boxed], "labels": [one["cat_name"] for one in boxed]}}

    seen = parse_answer(OfTheText(), examples.format_answer(things), "detect")
    made = sorted((one.label, tuple(int(edge * 1000) for edge in one.box)) for one in seen)
    assert made == sorted((one.label, tuple(min(999, int(edge * 1000)) for edge in one.box)) for one in things)


def test_captions_come_from_a_csv(photos: Path) -> None:
    table = photos / "captions.csv"
    table.write_text('\ufefffile,caption,more\na.jpg,"A red  wall, <loc_1>",x\n', encoding="utf-8")
    assert examples.read_examples(table, captions="detailed_caption") == [
        FineTuningExample(photos / "a.jpg", "detailed_caption", "A red wall, loc_1")
    ]


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("x.csv", "image,text\n", "x.csv:1: the first line must name"),
        ("x.csv", "file,caption\na.jpg,a wall\nb.jpg,\n", "x.csv:3: the file or the caption is empty"),
        ("x.csv", "file,caption\n", "nothing to learn from: no image with a caption"),
        ("x.csv", "file,caption\nz.jpg,a wall\n", "1 of 1 images do not exist, the first is"),
        ("x.json", "[", "is not valid JSON"),
        ("x.json", '{"images": []}', "has no list 'categories'"),
        ("x.json", '{"images": [{"id": 1}], "annotations": [], "categories": []}', r"images\[0\]: file_name"),
        (
            "x.json",
            '{"images": [], "annotations": [{"image_id": 1, "category_id": 2}], "categories": []}',
            r"annotations\[0\]: there is no category 2",
        ),
    ],
)
def test_what_cannot_be_learned_from_is_named(photos: Path, name: str, content: str, problem: str) -> None:
    (photos / name).write_text(content)
    with pytest.raises(DataInvalid, match=problem):
        examples.read_examples(photos / name)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("x.csv", b"file,caption\na.jpg,K\xe4se\n", "x.csv is not UTF-8: invalid continuation byte at byte 20"),
        ("x.csv", b'file,caption\na.jpg,"' + b"a" * 200_000, "x.csv is not valid csv: field larger than field limit"),
        ("x.json", b'{"images": "K\xe4se"}', "x.json is not valid JSON: "),
    ],
)
def test_a_file_that_is_no_text_ends_in_a_line(photos: Path, name: str, content: bytes, problem: str) -> None:
    (photos / name).write_bytes(content)
    with pytest.raises(DataInvalid, match=problem) as refused:
        examples.read_examples(photos / name)
    assert "\n" not in str(refused.value)


SAYING = "tree<loc_250><loc_250><loc_750><loc_750>"


def test_it_learns_to_say_where_the_thing_is_and_is_served(untaught: Path, photos: Path, tmp_path: Path) -> None:
    said: list[str] = []
    told = [FineTuningExample(photos / "a.jpg", "detect", SAYING)] * 20
    options = Options(epochs=2, lr=0.03, batch=1, freeze_vision=False)
    folder = tune(told, untaught, tmp_path / "run", options, said.append)
    losses = [float(line.rpartition(" ")[2]) for line in said]
    assert losses[1] < 0.5 * losses[0]
    tagger = Florence2Tagger(Florence2Engine(folder, 1), folders.version_of(folders.hashes(folder)), TagOptions())
    frame = tagger.preprocess(Image.open(photos / "a.jpg"))[None].copy()
    (answer,) = tagger.infer(frame, [TagOptions(tasks=("detect",))])
    assert [(tag.name, tag.instances[0].box) for tag in answer.tags] == [("tree", (0.2505, 0.2505, 0.5, 0.5))]


def test_an_interrupted_training_ends_with_the_same_weights(untaught: Path, photos: Path, tmp_path: Path) -> None:
    told = [FineTuningExample(photos / f"{name}.jpg", "detect", SAYING) for name in "abc"]
    whole = tune(told, untaught, tmp_path / "whole", Options(epochs=2, lr=0.01, batch=2), lambda line: None)
    tune(told, untaught, tmp_path / "broken", Options(epochs=1, lr=0.01, batch=2), lambda line: None)
    (tmp_path / "broken" / ".part-epoch-2").mkdir()  # as a kill leaves it
    said: list[str] = []
    again = tune(told, untaught, tmp_path / "broken", Options(epochs=2, lr=0.01, batch=2), said.append)
    assert said[0] == "resuming after epoch 1 of 2"
    assert [path.name for path in again.parent.iterdir() if path.is_dir()] == ["epoch-2"]
    first, second = load_file(whole / "model.safetensors"), load_file(again / "model.safetensors")
    assert all(torch.equal(first[name], second[name]) for name in first)
    before = load_file(untaught / "model.safetensors")
    assert any(not torch.equal(before[name], first[name]) for name in first)
    frozen = [name for name in first if "vision_tower" in name]
    assert frozen
    assert all(torch.equal(before[name], first[name]) for name in frozen)
    with pytest.raises(RunInvalid, match=r"belongs to another training \(options differs\)"):
        tune(told, untaught, tmp_path / "broken", Options(epochs=3, lr=0.02, batch=2), said.append)
    (again / "optimiser.pt").write_bytes(b"PK damaged")
    with pytest.raises(RunInvalid, match=r"optimiser\.pt cannot be read"):
        tune(told, untaught, tmp_path / "broken", Options(epochs=3, lr=0.01, batch=2), said.append)


def test_a_loss_that_is_no_number_stops_it_and_an_image_that_is_none_does_not(
    untaught: Path, photos: Path, tmp_path: Path
) -> None:
    (photos / "b.jpg").write_bytes(b"no image")
    told = [FineTuningExample(photos / f"{name}.jpg", "caption", "a wall") for name in "ab"]
    said: list[str] = []
    done = tune(told, untaught, tmp_path / "run", Options(epochs=1, batch=1), said.append)
    assert said[0].startswith(f"skipped {photos / 'b.jpg'}: ")
    weights = load_file(done / "model.safetensors")
    weights["model.language_model.shared.weight"].fill_(float("nan"))
    save_file(weights, done / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(TrainingStopped, match="epoch 2, step 1: the loss is not finite"):
        tune(told, untaught, tmp_path / "run", Options(epochs=2, batch=1), said.append)
    assert (tmp_path / "run" / "epoch-1").is_dir()
    with pytest.raises(DataInvalid, match="none of the 1 images can be read"):
        tune(told[1:], untaught, tmp_path / "none", Options(epochs=1), said.append)


def test_a_gradient_that_is_no_number_changes_no_weight(untaught: Path, photos: Path, tmp_path: Path) -> None:
    told = [FineTuningExample(photos / "a.jpg", "caption", "a wall")]
    done = tune(told, untaught, tmp_path / "run", Options(epochs=1, batch=1), lambda line: None)
    weights = load_file(done / "model.safetensors")
    weights["model.language_model.shared.weight"].mul_(1e17)
    last = max(name for name in weights if "decoder.layers" in name and name.endswith("final_layer_norm.weight"))
    weights[last].mul_(1e10)
    save_file(weights, done / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(TrainingStopped, match="epoch 2, step 1: the norm of the gradient is not finite"):
        tune(told, untaught, tmp_path / "run", Options(epochs=2, batch=1), lambda line: None)
    assert [path.name for path in (tmp_path / "run").iterdir() if path.is_dir()] == ["epoch-1"]


def test_a_folder_is_tuned_and_added_by_commands(settings: Settings, photos: Path, tmp_path: Path) -> None:
    weights = tiny.save(tmp_path / "florence2")
    table = photos / "captions.csv"
    table.write_text("file,caption\na.jpg,a wall\n")
    environ = {"TAGFLEET_HOME": str(settings.home), "TAGFLEET_CACHE": str(settings.cache)}
    runner = CliRunner(env=environ)
    asked = ["tune", str(table), "--run", str(tmp_path / "run"), "--start-from", str(weights), "--epochs", "1"]
    done = runner.invoke(command, asked, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "epoch 1 of 1: loss" in done.stderr
    folder = tmp_path / "run" / "epoch-1"
    added = runner.invoke(command, ["add", str(folder)], catch_exceptions=False)
    manifest = folders.find(Backend(settings).store, "florence2")
    assert manifest is not None
    assert added.stdout == f"florence2@{manifest.version}\n"
    assert "optimiser.pt" not in manifest.files
