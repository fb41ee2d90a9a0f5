"""Florence-2 through transformers: pictures and questions in, answers out. Imported only to run or train one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import Florence2ForConditionalGeneration, Florence2Processor
from transformers.utils import logging

from app_tier.engines import Pixels, golden
from app_tier.engines.devices import CpuDevice, Device
from app_tier.engines.visual_questions import Answer, Detection, Question
from config.settings import Task
from core import telemetry
from core.errors import GpuUnusable, WeightsInvalid

PROMPTS: dict[Task, str] = {
    "caption": "<CAPTION>",
    "detailed_caption": "<DETAILED_CAPTION>",
    "detect": "<OD>",
    "regions": "<DENSE_REGION_CAPTION>",
    "find": "<OPEN_VOCABULARY_DETECTION>",
}
MAX_ANSWER = 1024
"""Tokens: the longest answer that the published models were trained on."""
AT_ONCE = 16
"""Answers that are generated together. It bounds the memory for many questions about few pictures."""
MAX_ABOUT = 200
"""Characters of the name of a thing to find: a longer prompt would not fit beside the picture."""
_PIXELS = 1_000_000
"""transformers gives boxes in whole pixels of a picture of this side: enough for the model's thousandths."""
_ADVICE = "use files such as those of huggingface.co/florence-community/Florence-2-base-ft"


class Florence2Engine:
    """Runs a Florence-2 model on a device, in its precision. Pictures are squares of `side` pixels."""

    def __init__(self, folder: Path, threads: int = 0, device: Device | None = None) -> None:
        """Load and check the model; without a device, onto the CPU, for which `threads` is.

        Raises WeightsInvalid if the folder does not hold a complete Florence-2.
        """
        device = device or CpuDevice()
        on_cpu = device.place.type == "cpu"
        if threads and on_cpu:
            torch.set_num_threads(threads)
        self.name = f"torch {device.name}"
        self.most_at_once = 1 if on_cpu else None  # a picture takes seconds: a batch would only delay a drain
        self.best_batch = 1 if on_cpu else 8
        self._device = device.place
        self._dtype = device.precision.dtype
        model, self.processor = load(folder)
        self._model = model.to(device=self._device, dtype=self._dtype).eval()
        pictures = self.processor.image_processor
        self.side = int(pictures.size.height)
        self._mean, self._scale = read_normalisation(pictures, self._device)
        limit = self._model.config.text_config.max_position_embeddings
        self._longest = min(MAX_ANSWER, limit - 1)
        self._check(folder)

    def answer(self, frames: Pixels, questions: Sequence[Question]) -> list[Answer]:
        """Return the answer to each question about one of the (N, side, side, 3) frames. Each frame is encoded once.

        If memory does not suffice, it goes on with halves, and says so in `best_batch`. Raises GpuUnusable if it does
        not suffice for one question.
        """
        try:
            return self._answer(frames, questions)
        except torch.OutOfMemoryError:
            if len(questions) <= 1:
                raise GpuUnusable(f"{self.name}: there is no memory for one question about one picture") from None
            self._shrink(len(frames))
        return [answer for part in halves(frames, questions) for answer in self.answer(*part)]

    def _shrink(self, failed: int) -> None:
        torch.cuda.empty_cache()  # does nothing on a CPU
        self.best_batch = max(1, min(self.best_batch, failed // 2))
        self.most_at_once = self.best_batch
        telemetry.logger().warning("out of memory: fewer pictures at once", engine=self.name, at_once=self.best_batch)

    def _answer(self, frames: Pixels, questions: Sequence[Question]) -> list[Answer]:
        texts = [""] * len(questions)
        with torch.inference_mode():
            features = self._encode(frames)
            # Answers to the same kind of question are about equally long, so a group ends at about the same time.
            order = sorted(range(len(questions)), key=lambda number: questions[number].task)
            for group in _groups(order, AT_ONCE):
                generated = self._generate(features, [questions[number] for number in group])
                for number, text in zip(group, generated, strict=True):
                    texts[number] = text
        return [
            parse_answer(self.processor, text, question.task) for text, question in zip(texts, questions, strict=True)
        ]

    def _encode(self, frames: Pixels) -> Tensor:
        """Return each frame's input to the language model: (N, tokens, width)."""
        pixels = torch.from_numpy(frames).to(self._device).permute(0, 3, 1, 2).float()
        normalised = ((pixels - self._mean) * self._scale).to(self._dtype)
        features: Tensor = self._model.get_image_features(normalised).pooler_output
        return features

    def _generate(self, features: Tensor, questions: Sequence[Question]) -> list[str]:
        model, tokenizer = self._model, self.processor.tokenizer
        prompts = tokenizer(
            [make_prompt(self.processor, question.task, question.about) for question in questions],
            add_special_tokens=False,
            padding=True,
            return_tensors="pt",
        ).to(self._device)
        embeds = model.get_input_embeddings()(prompts.input_ids)
        pictures = features[[question.frame for question in questions]].to(embeds.dtype)
        place = (prompts.input_ids == model.config.image_token_id).unsqueeze(-1)
        embeds = embeds.masked_scatter(place, pictures)
        encoded = model.get_encoder()(inputs_embeds=embeds, attention_mask=prompts.attention_mask)
        tokens = model.generate(
            encoder_outputs=encoded,
            attention_mask=prompts.attention_mask,
            max_new_tokens=self._longest,
            max_length=None,
        )
        texts: list[str] = tokenizer.batch_decode(tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return texts

    def _check(self, folder: Path) -> None:
        """Encode one picture and generate one caption, to warm the model up and find broken weights."""
        picture = np.ascontiguousarray(golden.pixels(self.side))
        with torch.inference_mode():
            features = self._encode(picture)
        expected = (1, self.processor.num_image_tokens)
        if features.shape[:2] != expected:
            raise WeightsInvalid(
                f"{folder}: its processor says image_seq_length {expected[1]}, and its model makes {features.shape[1]} "
                f"tokens of a picture; {_ADVICE}"
            )
        if not features.isfinite().all():
            raise WeightsInvalid(f"{folder}: its weights give NaN or infinite outputs; get model.safetensors again")
        self.answer(picture, [Question(0, "caption")])


def load(folder: Path) -> tuple[Any, Florence2Processor]:
    """Return the model, fp32 on the CPU, and its processor. No code in the folder is ever run.

    Raises WeightsInvalid, in one line, if a file is missing, damaged or of another model.
    """
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        kind = json.loads((folder / "config.json").read_text())["model_type"]
        if kind != "florence2":
            raise ValueError(f"its config.json says model_type {kind!r}")  # noqa: TRY301  # reported like the others
        processor = Florence2Processor.from_pretrained(folder, **options)
        model, info = Florence2ForConditionalGeneration.from_pretrained(
            folder, use_safetensors=True, output_loading_info=True, dtype=torch.float32, **options
        )
    except Exception as error:  # noqa: BLE001  # with wrong files the library may raise anything
        raise WeightsInvalid(f"{folder} cannot be loaded as Florence-2 ({_first_line(error)}); {_ADVICE}") from None
    # Only parameters count: missing buffers can be computed, surplus tensors do no harm. Checkpoints differ in both.
    if missing := sorted(info["missing_keys"] & {name for name, _ in model.named_parameters()}):
        raise WeightsInvalid(
            f"{folder}/model.safetensors does not fit its config.json: it lacks {len(missing)} of the tensors, "
            f"among them {missing[0]!r}; {_ADVICE}"
        )
    parses = processor.post_processor_config or {}
    if absent := {"pure_text", "description_with_bboxes", "description_with_bboxes_or_polygons"} - parses.keys():
        raise WeightsInvalid(
            f"{folder}/processor_config.json does not have {', '.join(sorted(absent))} under "
            f"post_processor_config; {_ADVICE}"
        )
    return model, processor


def halves(frames: Pixels, questions: Sequence[Question]) -> Iterator[tuple[Pixels, list[Question]]]:
    """Split questions in two, each half with only the frames that it asks about."""
    middle = len(questions) // 2
    for half in (questions[:middle], questions[middle:]):
        asked = sorted({question.frame for question in half})
        yield frames[asked], [replace(question, frame=asked.index(question.frame)) for question in half]


def make_prompt(processor: Florence2Processor, task: Task, about: str = "") -> str:
    """Return the model's input: the picture's tokens, then the question in the words that the model was trained on."""
    question = processor.task_prompts_without_inputs.get(PROMPTS[task])
    if question is None:
        question = processor.task_prompts_with_input[PROMPTS[task]].format(input=plain(about)[:MAX_ABOUT])
    tokenizer = processor.tokenizer
    return f"{processor.image_token * processor.num_image_tokens}{tokenizer.bos_token}{question}{tokenizer.eos_token}"


def parse_answer(processor: Florence2Processor, text: str, task: Task) -> Answer:
    """Parse generated text: a caption, or labels with boxes. Returns as much of malformed text as can be parsed."""
    if task in ("caption", "detailed_caption"):
        return plain(text)
    try:
        found = processor.post_process_generation(text=text, task=PROMPTS[task], image_size=(_PIXELS, _PIXELS))
    except (RuntimeError, ValueError):  # the tokens form no valid box or polygon
        return []
    answer = found[PROMPTS[task]]
    labels = answer.get("labels") or answer.get("bboxes_labels") or []
    boxed = [Detection(plain(label), _corners(box)) for label, box in zip(labels, answer["bboxes"], strict=True)]
    outlined = zip(answer.get("polygons_labels", []), answer.get("polygons", []), strict=True)
    return boxed + [Detection(plain(label), _bounding_box(outline)) for label, outline in outlined if any(outline)]


def plain(text: str) -> str:
    """Remove special tokens, which the model would take for places, and repeated spaces."""
    return " ".join(re.sub(r"<[^<>\s]*>", " ", text).replace("<", " ").replace(">", " ").split())


def read_normalisation(pictures: Any, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return each channel's mean and reciprocal deviation, for pixels in 0..255, as (1, 3, 1, 1)."""
    mean = torch.tensor(pictures.image_mean, device=device).mul(255).view(1, 3, 1, 1)
    scale = torch.tensor(pictures.image_std, device=device).mul(255).reciprocal().view(1, 3, 1, 1)
    return mean, scale


def _corners(box: Sequence[float]) -> tuple[float, float, float, float]:
    left, top, right, bottom = (place / _PIXELS for place in box)
    return left, top, right, bottom


def _bounding_box(polygons: Sequence[Sequence[float]]) -> tuple[float, float, float, float]:
    """Return the box around one thing's outline, whose polygons are x, y, x, y, …"""
    across = [place for polygon in polygons for place in polygon[::2]]
    down = [place for polygon in polygons for place in polygon[1::2]]
    return _corners((min(across), min(down), max(across), max(down)))


def _groups(numbers: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(numbers), size):
        yield numbers[start : start + size]


def _first_line(error: Exception) -> str:
    """Return the first line of a message that may be pages long."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
