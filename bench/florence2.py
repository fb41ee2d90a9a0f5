"""Measure Florence-2-base on one CPU core, with random weights in the published network.

Random weights take as long as trained ones, but their answers do not end by themselves: here each has `tokens` tokens.
The figures are processor time of one thread, which other work on the machine disturbs least.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click
import torch
from transformers import BartConfig, Florence2Config, Florence2ForConditionalGeneration
from transformers.models.florence2.configuration_florence2 import Florence2VisionConfig

BEAMS = 3
"""From the published generation_config.json."""
SIDE = 768
_PROMPT_TOKENS = 12
_REPEATS = 3
_LEARNED = 51_290


@dataclass(frozen=True, slots=True)
class Cost:
    """The measured costs. Seconds are processor time; memory is the peak of the whole process."""

    weights: int
    look_s: float
    """The vision tower on one photo."""
    read_s: float
    """The language model's encoder on the photo's features and the question, once per task."""
    token_s: float
    """One token of an answer. About six boxes, or a long caption, take a hundred tokens."""
    memory_mb: int


def lines(cost: Cost) -> list[str]:
    """Return the report, one line per step."""
    return [
        f"{cost.weights / 1e6:.0f} million weights, fp32, {cost.memory_mb:,} MB of memory",
        f"look at a photo     {cost.look_s:6.2f} s of one core",
        f"read a question     {cost.read_s:6.2f} s",
        f"a token of answer   {cost.token_s:6.3f} s with {BEAMS} beams",
    ]


def measure(tokens: int) -> Cost:
    """Run each step with an answer of `tokens` tokens. Limits torch to one thread in this process."""
    torch.set_num_threads(1)
    model = _base()
    photo = torch.randn(1, 3, SIDE, SIDE)
    with torch.inference_mode():
        features, look = _timed(lambda: model.get_image_features(photo).pooler_output, _REPEATS)
        asked = torch.randn(1, _PROMPT_TOKENS, features.shape[-1])
        encoder = model.get_encoder()
        encoded, read = _timed(lambda: encoder(inputs_embeds=torch.cat([features, asked], dim=1)), _REPEATS)
        _, say = _timed(
            lambda: model.generate(
                encoder_outputs=encoded, min_new_tokens=tokens, max_new_tokens=tokens, max_length=None, num_beams=BEAMS
            )
        )
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return Cost(model.num_parameters(), look, read, say / tokens, memory)


def _base() -> Any:
    """Make the network by the config of florence-community/Florence-2-base-ft."""
    vision = Florence2VisionConfig(projection_dim=768)
    text = BartConfig(
        vocab_size=_LEARNED,
        d_model=768,
        encoder_layers=6,
        decoder_layers=6,
        encoder_attention_heads=12,
        decoder_attention_heads=12,
        encoder_ffn_dim=3072,
        decoder_ffn_dim=3072,
    )
    return Florence2ForConditionalGeneration(Florence2Config(vision_config=vision, text_config=text)).eval()


def _timed(work: Callable[[], Any], times: int = 1) -> tuple[Any, float]:
    """Return the result of `work` and the least processor seconds of `times` runs."""
    least = float("inf")
    for _ in range(times):
        started = time.process_time()
        found = work()
        least = min(least, time.process_time() - started)
    return found, least


@click.command()
@click.option("--tokens", default=40, help="length of an answer")
def command(tokens: int) -> list[str]:
    """Measure the tagger florence2 on one CPU core: a photo, a question, and each token of an answer."""
    return lines(measure(tokens))
