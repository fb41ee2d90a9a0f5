"""Florence-2: captions, things with their boxes, and what people ask for by name. It gives no confidences.

The model generates text, so that nothing in it says how sure it is: every confidence is None.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Protocol, TypeAlias

import numpy as np
from PIL import Image

from app_tier.engines import Pixels
from app_tier.models import model_folders
from app_tier.models.model_folders import Found
from app_tier.taggers import Choice, Frame, Prediction, Wanted
from config.settings import Task
from core.domain.messages import Box, Tag, TagOptions
from core.errors import WeightsMissing
from core.storage.models import content_of

NAME = "florence2"
REPOSITORY = "florence-community/Florence-2-base-ft"
"""At Hugging Face, MIT licence, 0.23 billion weights; -large-ft has 0.77."""
REQUIREMENTS = "requirements-florence2.txt"
_MAX_LABEL = 200
_DIGITS = 4


@dataclass(frozen=True, slots=True)
class Question:
    """About one frame of a batch; `about` is the thing to find."""

    frame: int
    task: Task
    about: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """A thing, and its left, top, right and bottom edge relative to the picture: in any order and range."""

    label: str
    box: tuple[float, float, float, float]


Answer: TypeAlias = str | list[Seen]


class Engine(Protocol):
    name: str
    side: int
    most_at_once: int | None
    """Frames that it is to be given together at most."""

    def answer(self, frames: Pixels, questions: Sequence[Question]) -> list[Answer]: ...


def choose(wanted: Wanted, spec: Callable[[str], object] = find_spec) -> Choice:
    """Raises WeightsMissing where there is no transformers or no model, WeightsInvalid."""
    if spec("transformers") is None:
        raise WeightsMissing(
            f"{NAME} needs transformers, which is not installed: pip install -r {REQUIREMENTS}, and start again"
        )
    found = model_folders.find(wanted, NAME, REPOSITORY)
    content = partial(content_of, wanted.store, NAME)
    return Choice(found.name, partial(_load, found, wanted), current=found.current, content=content)


def _load(found: Found, wanted: Wanted) -> Florence2Tagger:
    from app_tier.engines.florence2 import Florence2Engine

    engine = Florence2Engine(found.bring(), wanted.settings.worker.threads)
    return Florence2Tagger(engine, found.version, TagOptions(top_k=wanted.pool.top_k, tasks=wanted.pool.task_names))


class Florence2Tagger:
    """Makes a tag of each thing that is seen, with its boxes, in the model's own order; a caption makes no tag."""

    name = NAME
    labels: Sequence[str] = ()

    def __init__(self, engine: Engine, version: str, defaults: TagOptions) -> None:
        self.version = f"{NAME}@{version}"
        self.side = engine.side
        self.shape = (engine.side, engine.side, 3)
        self.engine_name = engine.name
        self.most_at_once = engine.most_at_once
        self._engine = engine
        self._defaults = defaults

    def preprocess(self, image: Image.Image) -> Frame:
        return square(image, self.side)

    def infer(self, frames: Pixels, options: Sequence[TagOptions]) -> list[Prediction]:
        questions = [ask for frame, wanted in enumerate(options) for ask in self._questions(frame, wanted)]
        answers = self._engine.answer(frames, questions) if questions else []
        of_frame: list[list[tuple[Question, Answer]]] = [[] for _ in options]
        for question, answer in zip(questions, answers, strict=True):
            of_frame[question.frame].append((question, answer))
        return [self._prediction(said, wanted) for said, wanted in zip(of_frame, options, strict=True)]

    def _questions(self, frame: int, wanted: TagOptions) -> Iterable[Question]:
        """Each task once, a detailed caption in place of a plain one; who only names things has them looked for."""
        tasks = wanted.tasks
        if tasks is None:
            tasks = ("find",) if wanted.candidates else self._defaults.tasks or ()
        for task in dict.fromkeys(tasks):
            if task == "find":
                named = dict.fromkeys(" ".join(name.split()) for name in wanted.candidates or ())
                yield from (Question(frame, task, name) for name in named if name)
            elif task != "caption" or "detailed_caption" not in tasks:
                yield Question(frame, task)

    def _prediction(self, said: Sequence[tuple[Question, Answer]], wanted: TagOptions) -> Prediction:
        caption = next((answer for _, answer in said if isinstance(answer, str) and answer), None)
        seen = (
            Seen(question.about or one.label, one.box)  # asked for a thing, the model may call it by other words
            for question, answer in said
            if not isinstance(answer, str)
            for one in answer
        )
        return Prediction(_tags(seen)[: wanted.top_k or self._defaults.top_k], caption)


def square(image: Image.Image, side: int) -> Frame:
    """The whole picture in a square, as the model was trained: places relative to it are those in the picture."""
    return np.asarray(image.resize((side, side), Image.Resampling.BICUBIC))


def _tags(seen: Iterable[Seen]) -> tuple[Tag, ...]:
    """One for each label, in the order in which they came; a thing whose box is none is not seen."""
    named: dict[str, str] = {}
    boxes: dict[str, dict[Box, None]] = {}
    for one in seen:
        label, box = one.label[:_MAX_LABEL].strip(), _box(one.box)
        if label and box:
            key = label.casefold()
            named.setdefault(key, label)
            boxes.setdefault(key, {})[box] = None
    return tuple(Tag(name=name, confidence=None, instances=tuple(boxes[key])) for key, name in named.items())


def _box(corners: tuple[float, float, float, float]) -> Box | None:
    """x, y, width, height, cut to the picture; None where nothing is left, or the edges are the wrong way round."""
    left, top, right, bottom = (min(max(place, 0.0), 1.0) for place in corners)
    if not (left < right and top < bottom):
        return None
    x, y = round(left, _DIGITS), round(top, _DIGITS)
    return Box(box=(x, y, round(right - x, _DIGITS), round(bottom - y, _DIGITS)))
