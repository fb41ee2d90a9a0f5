"""A Florence-2 with random weights: its questions, its answers, and broken folders."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file, save_file

from app_tier.engines import Pixels
from app_tier.engines.florence2 import AT_ONCE, PROMPTS, Florence2Engine, make_prompt, parse_answer, read_normalisation
from app_tier.engines.visual_questions import Detection, Question
from app_tier.models.request import ModelRequest
from app_tier.taggers import Tagger, TaggerHandle, florence2
from app_tier.taggers.florence2 import Florence2Tagger, to_tags
from app_tier.worker.hot_reload import HotReload
from bench.deployment import wait_until
from config.settings import PoolSettings, Settings
from core.domain.messages import Box, TagOptions
from core.errors import GpuUnusable, WeightsInvalid
from core.storage import folders
from core.wiring import Backend
from tests import tiny_florence2 as tiny

DOG = (0.1005, 0.2005, 0.399, 0.399)
CAT = ((0.6005, 0.0005, 0.399, 0.299), (0.0005, 0.0005, 0.049, 0.049))
FRAMES = np.zeros((3, tiny.SIDE, tiny.SIDE, 3), dtype=np.uint8)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save(tmp_path_factory.mktemp("florence2"))


@pytest.fixture(scope="module")
def engine(folder: Path) -> Florence2Engine:
    return Florence2Engine(folder, 1)


@pytest.fixture
def tagger(engine: Florence2Engine) -> Florence2Tagger:
    return Florence2Tagger(engine, "1a2b3c4d", TagOptions(top_k=5, tasks=("detect", "caption")))


def test_things_become_tags_with_boxes_and_no_confidence(tagger: Florence2Tagger) -> None:
    (said,) = tagger.infer(FRAMES[:1], [TagOptions(min_confidence=0.9, cumulative=0.9)])
    assert [(tag.name, tag.confidence, [one.box for one in tag.instances]) for tag in said.tags] == [
        ("dog", None, [DOG]),
        ("cat", None, list(CAT)),
    ]
    assert all(box.confidence is None for tag in said.tags for box in tag.instances)
    assert said.caption == "dog cat"
    assert (tagger.version, tagger.engine_name, tagger.shape) == ("florence2@1a2b3c4d", "torch cpu fp32", (32, 32, 3))
    assert tagger.most_at_once == 1, "on a CPU"


class Cramped(Florence2Engine):
    """It has memory for `room` pictures at once."""

    room = 1

    def _encode(self, frames: Pixels) -> torch.Tensor:
        if len(frames) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super()._encode(frames)


def test_out_of_memory_halves_the_questions_for_good(folder: Path, engine: Florence2Engine) -> None:
    cramped = Cramped(folder, 1)
    cramped.best_batch, cramped.most_at_once = 8, None
    questions = [Question(2, "caption"), Question(0, "detect"), Question(1, "caption"), Question(0, "regions")]
    assert cramped.answer(FRAMES[:3], questions) == engine.answer(FRAMES[:3], questions)
    assert cramped.best_batch == cramped.most_at_once == 1
    cramped.room = 0
    with pytest.raises(GpuUnusable, match="there is no memory for one question about one picture"):
        cramped.answer(FRAMES[:1], [Question(0, "caption")])


def test_each_image_is_asked_by_the_options_of_its_batch(tagger: Florence2Tagger) -> None:
    options = [
        TagOptions(tasks=("regions",), top_k=1),
        TagOptions(candidates=("red  car", "red car", " ", "a <loc_1> tree")),
        TagOptions(tasks=("detailed_caption", "caption")),
    ]
    regions, found, captioned = tagger.infer(FRAMES, options)
    assert ([tag.name for tag in regions.tags], regions.caption) == (["dog"], None)
    assert [(tag.name, len(tag.instances)) for tag in found.tags] == [("red car", 3), ("a <loc_1> tree", 3)]
    assert (captioned.tags, captioned.caption) == ((), "dog cat")
    assert tagger.infer(FRAMES[:1], [TagOptions(tasks=("find",))])[0].tags == ()


def test_a_detailed_caption_replaces_a_plain_one() -> None:
    class Asked:
        name, side, most_at_once, best_batch = "fake", 8, None, 8

        def answer(self, frames: np.ndarray, questions: list[Question]) -> list[str]:
            self.questions = questions
            return [question.task for question in questions]

    engine = Asked()
    tagger = Florence2Tagger(engine, "1", TagOptions())
    assert (
        tagger.infer(FRAMES[:1], [TagOptions(tasks=("caption", "detailed_caption"))])[0].caption == "detailed_caption"
    )
    assert engine.questions == [Question(0, "detailed_caption")]


def test_prompts_equal_those_of_its_processor(engine: Florence2Engine) -> None:
    processor = engine.processor
    picture = Image.new("RGB", (50, 20), "red")
    for task, token in PROMPTS.items():
        about = "a red car" if task == "find" else ""
        whole = processor(text=token + about, images=picture)
        ours = processor.tokenizer(make_prompt(processor, task, about), add_special_tokens=False)
        assert ours.input_ids == list(whole.input_ids[0]), task


def test_pixels_equal_those_of_its_processor(engine: Florence2Engine, tagger: Florence2Tagger) -> None:
    picture = Image.effect_noise((97, 61), 80).convert("RGB")
    theirs = engine.processor.image_processor(images=picture, return_tensors="pt").pixel_values
    mean, scale = read_normalisation(engine.processor.image_processor, torch.device("cpu"))
    ours = torch.from_numpy(np.stack([tagger.preprocess(picture)])).permute(0, 3, 1, 2).float()
    assert torch.allclose((ours - mean) * scale, theirs, atol=0.04)  # a rounding of one of 255 steps


def test_many_questions_are_answered_as_one_by_one(tmp_path: Path) -> None:
    random = Florence2Engine(tiny.save(tmp_path, says=None, places=80), 1)
    noise = np.random.default_rng(3).integers(0, 256, (3, tiny.SIDE, tiny.SIDE, 3), dtype=np.uint8)
    questions = [Question(number % 3, "find", f"thing {number}") for number in range(AT_ONCE)]
    questions += [Question(1, "caption"), Question(2, "detect")]
    together = random.answer(noise, questions)
    assert isinstance(together[-2], str)
    for number in (AT_ONCE - 1, -1):
        assert random.answer(noise, [questions[number]]) == [together[number]]


PIECES = (
    "dog",
    "é ",
    "\n",
    "<",
    ">",
    "<s>",
    "</s>",
    "<pad>",
    "<sep>",
    "<poly>",
    "</poly>",
    "<od>",
    "<ground>",
    "loc_5>",
)
PLACES = st.integers(0, 999).map(lambda place: f"<loc_{place}>") | st.just(f"<loc_{'9' * 30}>")
GENERATED = st.lists(st.sampled_from(PIECES) | PLACES, max_size=30).map("".join)


@given(text=GENERATED | st.text(max_size=40), task=st.sampled_from(sorted(PROMPTS)))
def test_any_generated_text_can_be_parsed(engine: Florence2Engine, text: str, task: str) -> None:
    answer = parse_answer(engine.processor, text, task)
    if isinstance(answer, str):
        assert "<" not in answer
        return
    for tag in to_tags(answer):
        assert tag.name == tag.name.strip() != ""
        assert tag.confidence is None
        for one in tag.instances:
            x, y, width, height = one.box
            assert min(one.box) >= 0
            assert max(x + width, y + height) <= 1.0001


@pytest.mark.parametrize(
    ("said", "names"),
    [
        ("dog<loc_100><loc_200><loc_300>", []),  # three places are no box
        ("dog<loc_300><loc_200><loc_100><loc_400>", []),  # its right edge lies left of its left one
        ("<loc_1><loc_2><loc_3><loc_4>", []),  # of nothing
        ("a dog<loc_1><loc_2><loc_30><loc_40><loc_5>", ["a dog"]),
        ("</s><s>dog<loc_1><loc_2><loc_3><loc_4></s><pad>", ["dog"]),
    ],
)
def test_malformed_boxes_are_left_out(engine: Florence2Engine, said: str, names: list[str]) -> None:
    assert [tag.name for tag in to_tags(parse_answer(engine.processor, said, "detect"))] == names


def test_an_outline_becomes_its_bounding_box(engine: Florence2Engine) -> None:
    said = "dog<poly><loc_100><loc_500><loc_300><loc_200><loc_200><loc_600></poly>"
    assert parse_answer(engine.processor, said, "find") == [Detection("dog", (0.1005, 0.2005, 0.3005, 0.6005))]


def test_a_label_is_one_tag_and_boxes_are_clipped_to_the_picture() -> None:
    seen = [
        Detection("Dog", (-0.2, 0.5, 0.5, 1.5)),
        Detection("dog", (-0.2, 0.5, 0.5, 1.5)),
        Detection("dog", (0, 0, 0.25, 0.5)),
    ]
    (tag,) = to_tags(seen)
    assert (tag.name, tag.instances) == ("Dog", (Box(box=(0, 0.5, 0.5, 0.5)), Box(box=(0, 0, 0.25, 0.5))))


# --- versions out of the store ----------------------------------------------------------------


def test_a_version_that_cannot_be_loaded_is_named_and_later_ones_are_loaded(
    folder: Path, settings: Settings, backend: Backend, tmp_path: Path
) -> None:
    def add(number: float) -> folders.FolderManifest:
        copy = shutil.copytree(folder, tmp_path / f"{number}")
        (copy / "number.txt").write_text(f"{number}")
        return folders.add(backend.store, "florence2", copy, number)

    def choose() -> TaggerHandle:
        return florence2.choose(ModelRequest("florence2", PoolSettings(tagger="florence2"), settings, backend.store))

    first = add(1.0)
    hot_reload = HotReload(choose(), choose, itertools.count(step=100.0).__next__, 5.0)
    second = add(2.0)
    key = f"models/florence2/{second.version}/number.txt"
    backend.store.put(key, b"damaged")
    wait_until(lambda: hot_reload.poll() is not None or bool(hot_reload.notice))
    assert hot_reload.notice == (
        f"{first.reference} keeps serving, as {second.reference} cannot be loaded: "
        f"{key} in the store is damaged: add the model again"
    )
    third = add(3.0)
    taken: list[Tagger] = []
    wait_until(lambda: bool(taken.extend(filter(None, [hot_reload.poll()])) or taken))
    assert taken[0].version == third.reference


def test_a_version_that_could_not_be_loaded_serves_once_it_is_added_again(
    folder: Path, settings: Settings, backend: Backend, tmp_path: Path
) -> None:
    def choose() -> TaggerHandle:
        return florence2.choose(ModelRequest("florence2", PoolSettings(tagger="florence2"), settings, backend.store))

    folders.add(backend.store, "florence2", folder, 1.0)
    hot_reload = HotReload(choose(), choose, itertools.count(step=100.0).__next__, 5.0)
    copy = shutil.copytree(folder, tmp_path / "second")
    (copy / "number.txt").write_text("2")
    second = folders.add(backend.store, "florence2", copy, 2.0)
    backend.store.put(f"models/florence2/{second.version}/number.txt", b"damaged")
    wait_until(lambda: hot_reload.poll() is not None or "is damaged: add the model again" in hot_reload.notice)
    folders.add(backend.store, "florence2", copy, 3.0)
    taken: list[Tagger] = []
    wait_until(lambda: bool(taken.extend(filter(None, [hot_reload.poll()])) or taken))
    assert (taken[0].version, hot_reload.notice) == (second.reference, "")


# --- folders that are wrong -------------------------------------------------------------------


def changed(folder: Path, name: str, change: Callable[[dict], object]) -> None:
    content = json.loads((folder / name).read_text())
    change(content)
    (folder / name).write_text(json.dumps(content))


def _tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    return apply


def _only_a_pickle(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


_FIRST = "model.vision_tower.convs.0.conv.weight"
WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut off": (lambda f: (f / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{"), "cannot be loaded"),
    "no tensor": (_tensors(lambda t: t.pop(_FIRST)), "it lacks 1 of the tensors, among them 'model.vision_tower"),
    "another shape": (_tensors(lambda t: t.update({_FIRST: torch.zeros(2, 2)})), "cannot be loaded"),
    "no numbers": (_tensors(lambda t: t[_FIRST].fill_(float("nan"))), "give NaN or infinite outputs"),
    "a pickle": (_only_a_pickle, "cannot be loaded"),
    "another model": (
        lambda f: changed(f, "config.json", lambda c: c.update(model_type="bart")),
        "says model_type 'bart'",
    ),
    "no json": (lambda f: (f / "config.json").write_text("{"), "cannot be loaded"),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "cannot be loaded"),
    "no parser": (
        lambda f: changed(f, "processor_config.json", lambda c: c.pop("post_processor_config")),
        "does not have description_with_bboxes",
    ),
    "another picture": (
        lambda f: changed(f, "processor_config.json", lambda c: c["image_processor"].update(image_seq_length=5)),
        "image_seq_length 5, and its model makes 2",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_folder_is_refused_in_one_line(folder: Path, tmp_path: Path, wrong: str) -> None:
    copy = shutil.copytree(folder, tmp_path / "florence2")
    spoil, expected = WRONG[wrong]
    spoil(copy)
    with pytest.raises(WeightsInvalid) as refused:
        Florence2Engine(copy, 1)
    line = str(refused.value)
    assert expected in line
    assert str(copy) in line
    assert "\n" not in line


def test_checkpoints_may_have_surplus_tensors_and_lack_computed_ones(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "florence2")
    computed = "model.multi_modal_projector.visual_temporal_embed.pos_idx_to_embed"
    _tensors(lambda tensors: (tensors.pop(computed), tensors.update(more=torch.zeros(1))))(copy)
    assert Florence2Engine(copy, 1).answer(FRAMES[:1], [Question(0, "caption")]) == ["dog cat"]


def test_code_that_comes_with_a_model_is_never_run(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "florence2")
    (copy / "modeling_evil.py").write_text(f"open({str(tmp_path / 'run')!r}, 'w')\nclass Evil: pass\n")
    evil = dict.fromkeys(("AutoConfig", "AutoModelForCausalLM", "AutoProcessor"), "modeling_evil.Evil")
    changed(copy, "config.json", lambda content: content.update(auto_map=evil))
    changed(copy, "processor_config.json", lambda content: content.update(auto_map=evil))
    tokens = {"AutoTokenizer": ["modeling_evil.Evil", "modeling_evil.Evil"]}
    changed(copy, "tokenizer_config.json", lambda content: content.update(auto_map=tokens))
    Florence2Engine(copy, 1)
    assert not (tmp_path / "run").exists()
