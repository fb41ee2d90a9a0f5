"""Florence-2 through transformers: pictures and questions in, what it answers out. Imported only to run one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import Florence2ForConditionalGeneration, Florence2Processor
from transformers.utils import logging

from app_tier.engines import Pixels, golden
from app_tier.taggers.florence2 import Answer, Question, Seen
from config.settings import Task
from core.errors import WeightsInvalid

PROMPTS: dict[Task, str] = {
    "caption": "<CAPTION>",
    "detailed_caption": "<DETAILED_CAPTION>",
    "detect": "<OD>",
    "regions": "<DENSE_REGION_CAPTION>",
    "find": "<OPEN_VOCABULARY_DETECTION>",
}
MAX_ANSWER = 1024
"""Tokens; the longest that the published models were trained on."""
AT_ONCE = 16
"""Answers that are generated together: what bounds the memory of many questions about few pictures."""
MAX_ABOUT = 200
"""Characters of a thing to look for: a longer prompt would not fit beside the picture."""
_PIXELS = 1_000_000
"""Side of the picture in whose whole pixels transformers is to give boxes: enough for their thousandths."""
_ADVICE = "wanted are files such as those of huggingface.co/florence-community/Florence-2-base-ft"


class Florence2Engine:
    """One Florence-2: fp32 on the CPU, bf16 on CUDA. `side` is that of the square pictures it wants, in pixels."""

    def __init__(self, folder: Path, threads: int = 0) -> None:
        """Raises WeightsInvalid if the folder does not hold a whole Florence-2."""
        cuda = torch.cuda.is_available()
        if threads and not cuda:
            torch.set_num_threads(threads)
        self.name = "torch cuda bf16" if cuda else "torch cpu fp32"
        self.most_at_once = None if cuda else 1  # seconds each: together they would only keep a drain waiting
        self._device = torch.device("cuda" if cuda else "cpu")
        self._dtype = torch.bfloat16 if cuda else torch.float32
        model, self._processor = load(folder)
        self._model = model.to(device=self._device, dtype=self._dtype).eval()
        pictures = self._processor.image_processor
        self.side = int(pictures.size.height)
        self._mean, self._scale = normalisation(pictures, self._device)
        limit = self._model.config.text_config.max_position_embeddings
        self._longest = min(MAX_ANSWER, limit - 1)
        self._check(folder)

    def answer(self, frames: Pixels, questions: Sequence[Question]) -> list[Answer]:
        """The answer to each question about one of the frames, (N, side, side, 3); a picture is looked at only once."""
        said = [""] * len(questions)
        with torch.inference_mode():
            features = self._features(frames)
            # Answers to the same kind of question end at about the same time.
            order = sorted(range(len(questions)), key=lambda number: questions[number].task)
            for some in _groups(order, AT_ONCE):
                for number, text in zip(some, self._generated(features, [questions[n] for n in some]), strict=True):
                    said[number] = text
        return [read(self._processor, text, question.task) for text, question in zip(said, questions, strict=True)]

    def _features(self, frames: Pixels) -> Tensor:
        """(N, tokens, width): what the language model is given of each frame."""
        pixels = torch.from_numpy(frames).to(self._device).permute(0, 3, 1, 2).float()
        normalised = ((pixels - self._mean) * self._scale).to(self._dtype)
        found: Tensor = self._model.get_image_features(normalised).pooler_output
        return found

    def _generated(self, features: Tensor, questions: Sequence[Question]) -> list[str]:
        model, tokenizer = self._model, self._processor.tokenizer
        asked = tokenizer(
            [prompt(self._processor, question.task, question.about) for question in questions],
            add_special_tokens=False,
            padding=True,
            return_tensors="pt",
        ).to(self._device)
        embeds = model.get_input_embeddings()(asked.input_ids)
        pictures = features[[question.frame for question in questions]].to(embeds.dtype)
        place = (asked.input_ids == model.config.image_token_id).unsqueeze(-1)
        embeds = embeds.masked_scatter(place, pictures)
        encoded = model.get_encoder()(inputs_embeds=embeds, attention_mask=asked.attention_mask)
        tokens = model.generate(
            encoder_outputs=encoded, attention_mask=asked.attention_mask, max_new_tokens=self._longest, max_length=None
        )
        said: list[str] = tokenizer.batch_decode(tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return said

    def _check(self, folder: Path) -> None:
        """One look and one word: warms it, and tells weights that are none."""
        picture = np.ascontiguousarray(golden.pixels(self.side))
        with torch.inference_mode():
            features = self._features(picture)
        expected = (1, self._processor.num_image_tokens)
        if features.shape[:2] != expected:
            raise WeightsInvalid(
                f"{folder}: its processor says image_seq_length {expected[1]}, and its model makes {features.shape[1]} "
                f"of a picture; {_ADVICE}"
            )
        if not features.isfinite().all():
            raise WeightsInvalid(
                f"{folder}: its weights give no numbers (NaN or infinite); get model.safetensors again"
            )
        self.answer(picture, [Question(0, "caption")])


def load(folder: Path) -> tuple[Any, Florence2Processor]:
    """The model, fp32 on the CPU, and what goes before and after it. No code of the folder's own is ever run.

    Raises WeightsInvalid, in one line, if a file is missing, damaged or of another model.
    """
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    here: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        kind = json.loads((folder / "config.json").read_text())["model_type"]
        if kind != "florence2":
            raise ValueError(f"its config.json says model_type {kind!r}")  # noqa: TRY301  # as whatever else is wrong
        processor = Florence2Processor.from_pretrained(folder, **here)
        model, found = Florence2ForConditionalGeneration.from_pretrained(
            folder, use_safetensors=True, output_loading_info=True, dtype=torch.float32, **here
        )
    except Exception as error:  # noqa: BLE001  # what a folder that is wrong somewhere makes of the library may be anything
        raise WeightsInvalid(f"{folder} cannot be loaded as Florence-2 ({_line(error)}); {_ADVICE}") from None
    # Buffers can be computed, and what is there beside the model does it no harm: checkpoints differ in both.
    if lacks := sorted(found["missing_keys"] & {name for name, _ in model.named_parameters()}):
        raise WeightsInvalid(
            f"{folder}/model.safetensors does not fit its config.json: it lacks {len(lacks)} of the tensors, "
            f"among them {lacks[0]!r}; {_ADVICE}"
        )
    parses = processor.post_processor_config or {}
    if lacking := {"pure_text", "description_with_bboxes", "description_with_bboxes_or_polygons"} - parses.keys():
        raise WeightsInvalid(
            f"{folder}/processor_config.json says nothing of {', '.join(sorted(lacking))} under "
            f"post_processor_config; {_ADVICE}"
        )
    return model, processor


def prompt(processor: Florence2Processor, task: Task, about: str = "") -> str:
    """What the model reads: the picture's places and the question in the words that it was trained on."""
    said = processor.task_prompts_without_inputs.get(PROMPTS[task])
    if said is None:
        said = processor.task_prompts_with_input[PROMPTS[task]].format(input=plain(about)[:MAX_ABOUT])
    tokenizer = processor.tokenizer
    return f"{processor.image_token * processor.num_image_tokens}{tokenizer.bos_token}{said}{tokenizer.eos_token}"


def read(processor: Florence2Processor, text: str, task: Task) -> Answer:
    """What generated text says: a caption, or labels with boxes; of a malformed one, what can be read of it."""
    if task in ("caption", "detailed_caption"):
        return plain(text)
    try:
        found = processor.post_process_generation(text=text, task=PROMPTS[task], image_size=(_PIXELS, _PIXELS))
    except (RuntimeError, ValueError):  # places that make no box or polygon
        return []
    answer = found[PROMPTS[task]]
    labels = answer.get("labels") or answer.get("bboxes_labels") or []
    boxed = [Seen(plain(label), _corners(box)) for label, box in zip(labels, answer["bboxes"], strict=True)]
    outlined = zip(answer.get("polygons_labels", []), answer.get("polygons", []), strict=True)
    return boxed + [Seen(plain(label), _around(outline)) for label, outline in outlined if any(outline)]


def plain(text: str) -> str:
    """Without special tokens, which would be taken for places, and with single spaces."""
    return " ".join(re.sub(r"<[^<>\s]*>", " ", text).replace("<", " ").replace(">", " ").split())


def normalisation(pictures: Any, device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and reciprocal deviation of each channel, for pixels in 0..255, as (1, 3, 1, 1)."""
    mean = torch.tensor(pictures.image_mean, device=device).mul(255).view(1, 3, 1, 1)
    scale = torch.tensor(pictures.image_std, device=device).mul(255).reciprocal().view(1, 3, 1, 1)
    return mean, scale


def _corners(box: Sequence[float]) -> tuple[float, float, float, float]:
    left, top, right, bottom = (place / _PIXELS for place in box)
    return left, top, right, bottom


def _around(polygons: Sequence[Sequence[float]]) -> tuple[float, float, float, float]:
    """The box around one thing's outline, whose parts are x, y, x, y, …"""
    across = [place for polygon in polygons for place in polygon[::2]]
    down = [place for polygon in polygons for place in polygon[1::2]]
    return _corners((min(across), min(down), max(across), max(down)))


def _groups(numbers: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(numbers), size):
        yield numbers[start : start + size]


def _line(error: Exception) -> str:
    """The first line of what may be pages."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
