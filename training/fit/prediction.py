"""Run a network on labelled examples, and return its outputs beside the truth."""

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
from training.data.loading import crop_as_served, draw_in_order, load_batches
from training.fit.learner import autocast
from training.fit.metrics import Floats, Scores, Truth
from training.fit.options import Options

Infer = Callable[[Tensor], Scores]
"""Pixels (N, H, W, 3) uint8 → outputs (N, C)."""


@dataclass(frozen=True, slots=True)
class Predictions:
    """Logits `outputs` (N, C) and `truth` (N, C) of the readable photos; `problems` says why others are missing."""

    outputs: Floats
    truth: Truth
    problems: tuple[str, ...]

    @staticmethod
    def concatenate(parts: Sequence[Predictions]) -> Predictions:
        """Join predictions in order. Parts without images are dropped: their number of outputs is unknown."""
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
    """Run `infer` on all examples in order, without augmentation; `done` gets the number of examples just processed."""
    classes = len(network.label_names)
    found: list[Predictions] = [Predictions(np.zeros((0, classes)), np.zeros((0, classes), np.bool_), ())]
    pixels = crop_as_served(examples, network)
    for some in load_batches(examples, classes, draw_in_order(len(examples), batch), pixels, workers=workers):
        outputs = infer(some.pixels) if len(some.pixels) else np.zeros((0, classes))
        found.append(Predictions(outputs.astype(np.float64), some.truth.numpy() > 0, some.problems))
        done(len(some.pixels) + len(some.problems))
    return Predictions.concatenate(found)


def infer_with_module(module: PixelNetwork, options: Options, device: torch.device) -> Infer:
    """Return an `Infer` that runs the module as it is trained, with the same mixed precision."""

    def infer(pixels: Tensor) -> Scores:
        module.eval()
        with torch.inference_mode(), autocast(device, options):
            outputs: Scores = module(pixels.to(device)).float().cpu().numpy()
        return outputs

    return infer


def infer_with_engine(engine: Engine) -> Infer:
    """Return an `Infer` that runs the engine as the fleet serves it."""
    return lambda pixels: engine.infer(pixels.numpy())
