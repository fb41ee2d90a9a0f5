"""Taggers that are one forward pass: networks that the house knows, and those that its registry holds."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from app_tier import weights
from app_tier.engines import Engine, golden
from app_tier.networks import Network, network
from app_tier.taggers import Choice, Wanted
from app_tier.taggers.imagenet import ImageNetTagger
from app_tier.weights import Places, Weights
from config.settings import Settings
from core.messages import TagOptions


def choose(wanted: Wanted) -> Choice:
    """Raises WeightsMissing."""
    known, found = located(wanted)
    return Choice(known.name, partial(_load, known, found, wanted))


def located(wanted: Wanted) -> tuple[Network, Weights]:
    """The network and its weights. Raises WeightsMissing."""
    known = network(wanted.name)
    places = Places(wanted.pool.weights, wanted.settings.weights_folder, wanted.store, wanted.settings.cache)
    return known, weights.find(known, places, download=wanted.download)


def _load(chosen: Network, found: Weights, wanted: Wanted) -> ImageNetTagger:
    defaults = TagOptions(top_k=wanted.pool.top_k, min_confidence=wanted.pool.min_confidence)
    settings = wanted.settings
    threads = settings.worker.threads or _cores()
    if engine_name(settings) == "torch":
        from app_tier.engines.torch import TorchEngine

        engine: Engine = TorchEngine(chosen, found.path, threads)
        engine.infer(golden.pixels(chosen.crop))
        return ImageNetTagger(chosen, found.sha256, engine, defaults)

    from app_tier.engines import openvino

    kept = openvino.keep(chosen, found.path, found.sha256, settings.cache)
    fast = openvino.OpenVinoEngine(kept, threads, bf16=chosen.bf16)
    golden.check(fast, chosen.crop, kept.golden_outputs())
    exact = None
    if fast.bf16:
        exact = lambda: openvino.OpenVinoEngine(kept, threads, bf16=False)  # noqa: E731  # made at the first near-tie
    return ImageNetTagger(chosen, found.sha256, fast, defaults, exact)


def engine_name(settings: Settings) -> str:
    if settings.worker.engine != "auto":
        return settings.worker.engine
    return "torch" if Path("/dev/nvidia0").exists() else "openvino"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
