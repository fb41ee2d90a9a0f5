"""What a network says of each example, and what is true of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from app_tier.engines.modules import PixelNetwork
from app_tier.networks import Network
from training.examples import Example
from training.learner import autocast
from training.loading import as_served, batches, in_order
from training.metrics import Floats, Truth
from training.options import Options


@dataclass(frozen=True, slots=True)
class Answers:
    """`outputs` (N, C) before any sigmoid, `truth` (N, C); photos that could not be read are in `problems` alone."""

    outputs: Floats
    truth: Truth
    problems: tuple[str, ...]

    @staticmethod
    def joined(parts: Sequence[Answers]) -> Answers:
        return Answers(
            np.concatenate([part.outputs for part in parts]),
            np.concatenate([part.truth for part in parts]),
            tuple(problem for part in parts for problem in part.problems),
        )


def answers(
    module: PixelNetwork,
    examples: Sequence[Example],
    network: Network,
    options: Options,
    *,
    device: torch.device,
    workers: int = 0,
    done: Callable[[int], None] = lambda _: None,
) -> Answers:
    """Of all examples in their order, without augmentation; `done` hears how many more are through."""
    classes = len(network.label_names)
    module.eval()
    found: list[Answers] = [Answers(np.zeros((0, classes)), np.zeros((0, classes), np.bool_), ())]
    draws = in_order(len(examples), options.batch)
    for batch in batches(examples, classes, draws, as_served(examples, network), workers=workers):
        outputs = np.zeros((0, classes))
        if len(batch.pixels):
            with torch.inference_mode(), autocast(device, options):
                outputs = module(batch.pixels.to(device)).float().cpu().numpy().astype(np.float64)
        found.append(Answers(outputs, batch.truth.numpy() > 0, batch.problems))
        done(len(batch.pixels) + len(batch.problems))
    return Answers.joined(found)
