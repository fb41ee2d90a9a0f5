"""Florence-2: captions, things with their boxes, and things that people ask for by name.

The model generates text, which says nothing about how sure it is. So every confidence is None.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from importlib.util import find_spec

import numpy as np
from PIL import Image

from app_tier.engines import Pixels, gpu_choice
from app_tier.engines.visual_questions import Answer, Detection, Question, QuestionEngine
from app_tier.models import model_folders
from app_tier.models.model_folders import FoundFolder
from app_tier.models.request import ModelRequest
from app_tier.taggers import Frame, Prediction, TaggerHandle
from core.domain.messages import Box, Tag, TagOptions
from core.errors import WeightsMissing
from core.storage.models import content_of

NAME = "florence2"
REPOSITORY = "florence-community/Florence-2-base-ft"
"""At Hugging Face, under the MIT licence. It has 0.23 billion weights; -large-ft has 0.77."""
REQUIREMENTS = "requirements-florence2.txt"
_MAX_LABEL = 200
_DIGITS = 4


def choose(request: ModelRequest, find_package: Callable[[str], object] = find_spec) -> TaggerHandle:
    """Find the model's folder. Raises WeightsMissing without transformers or without a model, and WeightsInvalid."""
    if find_package("transformers") is None:
        raise WeightsMissing(
            f"{NAME} needs transformers, which is not installed: pip install -r {REQUIREMENTS}, and start again"
        )
    found = model_folders.find(request, NAME, REPOSITORY)
    content = partial(content_of, request.store, NAME)
    return TaggerHandle(found.name, partial(_load, found, request), current=found.current, content=content)


def _load(found: FoundFolder, request: ModelRequest) -> Florence2Tagger:
    worker = request.settings.worker
    device = gpu_choice.open_expected_gpu(worker.device, fp32=worker.precision == "fp32")
    from app_tier.engines.florence2 import Florence2Engine

    engine = Florence2Engine(found.fetch(), worker.threads, device)
    return Florence2Tagger(engine, found.version, TagOptions(top_k=request.pool.top_k, tasks=request.pool.task_names))


class Florence2Tagger:
    """Makes a tag, with its boxes, of each thing that the model sees, in the model's order. A caption makes no tag."""

    name = NAME
    labels: Sequence[str] = ()

    def __init__(self, engine: QuestionEngine, version: str, defaults: TagOptions) -> None:
        self.version = f"{NAME}@{version}"
        self.side = engine.side
        self.shape = (engine.side, engine.side, 3)
        self.engine_name = engine.name
        self._engine = engine
        self._defaults = defaults

    @property
    def best_batch(self) -> int:
        """The number of pictures in one call at which the engine is fastest now."""
        return self._engine.best_batch

    @property
    def most_at_once(self) -> int | None:
        """The most pictures in one call."""
        return self._engine.most_at_once

    def preprocess(self, image: Image.Image) -> Frame:
        """Scale the whole picture to a square."""
        return to_square(image, self.side)

    def infer(self, frames: Pixels, options: Sequence[TagOptions]) -> list[Prediction]:
        """Ask the model each batch's questions about its frames, and turn the answers into tags and captions."""
        questions = [question for frame, asked in enumerate(options) for question in self._questions(frame, asked)]
        answers = self._engine.answer(frames, questions) if questions else []
        by_frame: list[list[tuple[Question, Answer]]] = [[] for _ in options]
        for question, answer in zip(questions, answers, strict=True):
            by_frame[question.frame].append((question, answer))
        return [self._predict(answered, asked) for answered, asked in zip(by_frame, options, strict=True)]

    def _questions(self, frame: int, asked: TagOptions) -> Iterable[Question]:
        """Ask each task once, and a detailed caption instead of a plain one. Candidates alone mean the task `find`."""
        tasks = asked.tasks
        if tasks is None:
            tasks = ("find",) if asked.candidates else self._defaults.tasks or ()
        for task in dict.fromkeys(tasks):
            if task == "find":
                names = dict.fromkeys(" ".join(name.split()) for name in asked.candidates or ())
                yield from (Question(frame, task, name) for name in names if name)
            elif task != "caption" or "detailed_caption" not in tasks:
                yield Question(frame, task)

    def _predict(self, answered: Sequence[tuple[Question, Answer]], asked: TagOptions) -> Prediction:
        caption = next((answer for _, answer in answered if isinstance(answer, str) and answer), None)
        detections = (
            # Asked for a thing by name, the model may call it by other words.
            Detection(question.about or detection.label, detection.box)
            for question, answer in answered
            if not isinstance(answer, str)
            for detection in answer
        )
        return Prediction(to_tags(detections)[: asked.top_k or self._defaults.top_k], caption)


def to_square(image: Image.Image, side: int) -> Frame:
    """Scale the whole picture to a square, as the model was trained. Relative places stay those of the picture."""
    return np.asarray(image.resize((side, side), Image.Resampling.BICUBIC))


def to_tags(detections: Iterable[Detection]) -> tuple[Tag, ...]:
    """Return one tag for each label, in order of appearance. Detections without a valid box are left out."""
    names: dict[str, str] = {}
    boxes: dict[str, dict[Box, None]] = {}
    for detection in detections:
        label, box = detection.label[:_MAX_LABEL].strip(), _to_box(detection.box)
        if label and box:
            key = label.casefold()
            names.setdefault(key, label)
            boxes.setdefault(key, {})[box] = None
    return tuple(Tag(name=name, confidence=None, instances=tuple(boxes[key])) for key, name in names.items())


def _to_box(corners: tuple[float, float, float, float]) -> Box | None:
    """Clip to the picture and return x, y, width, height. None for an empty box, or edges in the wrong order."""
    left, top, right, bottom = (min(max(edge, 0.0), 1.0) for edge in corners)
    if not (left < right and top < bottom):
        return None
    x, y = round(left, _DIGITS), round(top, _DIGITS)
    return Box(box=(x, y, round(right - x, _DIGITS), round(bottom - y, _DIGITS)))
