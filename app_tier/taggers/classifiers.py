"""Taggers that are one forward pass: networks that the house knows, and those that its registry holds."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from app_tier import weights
from app_tier.engines import Engine, golden
from app_tier.networks import Network, network
from app_tier.taggers import Choice, Wanted
from app_tier.taggers.imagenet import ImageNetTagger
from app_tier.weights import Places, Weights
from config.settings import PoolSettings, Settings
from core.messages import TagOptions


def choose(wanted: Wanted) -> Choice:
    """Raises WeightsMissing."""
    known, found = located(wanted)
    return Choice(known.name, partial(_load, known, found, wanted))


def located(wanted: Wanted) -> tuple[Network, Weights]:
    """The network and its weights. Raises WeightsMissing."""
    known = network(wanted.name, wanted.settings.cache)
    places = Places(wanted.pool.weights, wanted.settings.weights_folder, wanted.store, wanted.settings.cache)
    return known, weights.find(known, places, download=wanted.download)


def _load(chosen: Network, found: Weights, wanted: Wanted) -> ImageNetTagger:
    engines = engines_of(chosen, found, wanted.settings)
    return ImageNetTagger(chosen, found.sha256, engines.fast, defaults_of(wanted.pool), engines.exact)


def defaults_of(pool: PoolSettings) -> TagOptions:
    """What a batch gets that asks for nothing."""
    return TagOptions(top_k=pool.top_k, min_confidence=pool.min_confidence)


@dataclass(frozen=True, slots=True)
class Engines:
    """`exact` makes an fp32 engine; None where `fast` is one."""

    fast: Engine
    exact: Callable[[], Engine] | None = None


def engines_of(chosen: Network, found: Weights, settings: Settings) -> Engines:
    """What runs the network on this machine, warmed and checked. Raises WeightsInvalid."""
    threads = settings.worker.threads or _cores()
    if engine_name(settings) == "torch":
        from app_tier.engines.torch import TorchEngine

        engine = TorchEngine(chosen, found.path, threads)
        engine.infer(golden.pixels(chosen.crop))
        return Engines(engine)

    from app_tier.engines import openvino

    kept = openvino.keep(chosen, found.path, found.sha256, settings.cache)
    fast = openvino.OpenVinoEngine(kept, threads, bf16=chosen.bf16)
    golden.check(fast, chosen.crop, kept.golden_outputs())
    if not fast.bf16:
        return Engines(fast)
    return Engines(fast, lambda: openvino.OpenVinoEngine(kept, threads, bf16=False))


def engine_name(settings: Settings) -> str:
    if settings.worker.engine != "auto":
        return settings.worker.engine
    return "torch" if Path("/dev/nvidia0").exists() else "openvino"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
