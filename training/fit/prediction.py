"""Run a network on examples: its outputs beside the truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from app_tier.engines import Engine
from app_tier.engines.modules import PixelNetwork
from app_tier.models.networks import Network
from training.data.examples import Example
from training.data.loading import as_served, batches, in_order
from training.fit.learner import autocast
from training.fit.options import Options
from training.metrics import Floats, Scores, Truth

Infer = Callable[[Tensor], Scores]
"""Pixels (N, H, W, 3) uint8 → outputs (N, C)."""


@dataclass(frozen=True, slots=True)
class Answers:
    """`outputs` (N, C) before any sigmoid and `truth` (N, C). Unreadable photos are only in `problems`."""

    outputs: Floats
    truth: Truth
    problems: tuple[str, ...]

    @staticmethod
    def joined(parts: Sequence[Answers]) -> Answers:
        """Concatenate the parts. A part without images does not know the number of outputs."""
        some = [part for part in parts if len(part.truth)] or parts[:1]
        return Answers(
            np.concatenate([part.outputs for part in some]),
            np.concatenate([part.truth for part in some]),
            tuple(problem for part in parts for problem in part.problems),
        )


def answers(
    infer: Infer,
    examples: Sequence[Example],
    network: Network,
    *,
    batch: int,
    workers: int = 0,
    done: Callable[[int], None] = lambda _: None,
) -> Answers:
    """Infer all examples in order, without augmentation; `done` gets the number of examples in each batch."""
    classes = len(network.label_names)
    found: list[Answers] = [Answers(np.zeros((0, classes)), np.zeros((0, classes), np.bool_), ())]
    pixels = as_served(examples, network)
    for some in batches(examples, classes, in_order(len(examples), batch), pixels, workers=workers):
        outputs = infer(some.pixels) if len(some.pixels) else np.zeros((0, classes))
        found.append(Answers(outputs.astype(np.float64), some.truth.numpy() > 0, some.problems))
        done(len(some.pixels) + len(some.problems))
    return Answers.joined(found)


def of_module(module: PixelNetwork, options: Options, device: torch.device) -> Infer:
    """Infer with a module as it was trained, in its mixed precision."""

    def infer(pixels: Tensor) -> Scores:
        module.eval()
        with torch.inference_mode(), autocast(device, options):
            outputs: Scores = module(pixels.to(device)).float().cpu().numpy()
        return outputs

    return infer


def of_engine(engine: Engine) -> Infer:
    """Infer with an engine, as a worker does."""
    return lambda pixels: engine.infer(pixels.numpy())
