"""Questions about pictures, their answers, and the engine that answers them. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from app_tier.engines import Pixels
from config.settings import Task


@dataclass(frozen=True, slots=True)
class Question:
    """A task for one frame of a batch. If the task is `find`, `about` names the thing to find."""

    frame: int
    task: Task
    about: str = ""


@dataclass(frozen=True, slots=True)
class Detection:
    """A thing, and its left, top, right and bottom edge relative to the picture, as the model gave them.

    The edges may be in any order and out of range.
    """

    label: str
    box: tuple[float, float, float, float]


Answer: TypeAlias = str | list[Detection]
"""A caption, or the things that the model saw."""


class QuestionEngine(Protocol):
    """Runs a model that answers questions about pictures."""

    name: str
    side: int
    """The side of its square frames, in pixels."""
    most_at_once: int | None
    """The most frames in one call; None: as many as the settings say."""
    best_batch: int
    """The number of frames in one call at which it is fastest."""

    def answer(self, frames: Pixels, questions: Sequence[Question]) -> list[Answer]:
        """Return the answer to each question about one of the (N, side, side, 3) frames."""
