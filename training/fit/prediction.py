"""What a network says of each example, and what is true of it."""

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
from training.fit.metrics import Floats, Scores, Truth
from training.fit.options import Options

Infer = Callable[[Tensor], Scores]
"""Pixels (N, H, W, 3) uint8 → outputs (N, C)."""


@dataclass(frozen=True, slots=True)
class Predictions:
    """`outputs` (N, C) before any sigmoid, `truth` (N, C); photos that could not be read are in `problems` alone."""

    outputs: Floats
    truth: Truth
    problems: tuple[str, ...]

    @staticmethod
    def concatenate(parts: Sequence[Predictions]) -> Predictions:
        """One after the other; what has no image does not know how many outputs there are."""
        some = [part for part in parts if len(part.truth)] or parts[:1]
        return Predictions(
            np.concatenate([part.outputs for part in some]),
            np.concatenate([part.truth for part in some]),
            tuple(problem for part in parts for problem in part.problems),
        )


def predict(
    infer: Infer,
    examples: Sequence[Example],
    network: Network,
    *,
    batch: int,
    workers: int = 0,
    done: Callable[[int], None] = lambda _: None,
) -> Predictions:
    """Of all examples in their order, without augmentation; `done` hears how many more are through."""
    classes = len(network.label_names)
    found: list[Predictions] = [Predictions(np.zeros((0, classes)), np.zeros((0, classes), np.bool_), ())]
    pixels = as_served(examples, network)
    for some in batches(examples, classes, in_order(len(examples), batch), pixels, workers=workers):
        outputs = infer(some.pixels) if len(some.pixels) else np.zeros((0, classes))
        found.append(Predictions(outputs.astype(np.float64), some.truth.numpy() > 0, some.problems))
        done(len(some.pixels) + len(some.problems))
    return Predictions.concatenate(found)


def infer_with_module(module: PixelNetwork, options: Options, device: torch.device) -> Infer:
    """As it was trained: with its mixed precision."""

    def infer(pixels: Tensor) -> Scores:
        module.eval()
        with torch.inference_mode(), autocast(device, options):
            outputs: Scores = module(pixels.to(device)).float().cpu().numpy()
        return outputs

    return infer


def infer_with_engine(engine: Engine) -> Infer:
    """As it is served."""
    return lambda pixels: engine.infer(pixels.numpy())
