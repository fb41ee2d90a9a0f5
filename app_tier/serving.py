"""Which tagger a pool really serves, and how it comes to life: weights, engine, golden check."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from app_tier import weights
from app_tier.engines import Engine, golden
from app_tier.networks import Network, network
from app_tier.taggers.imagenet import ImageNetTagger
from app_tier.weights import Places, Weights
from config.settings import PoolSettings, Settings
from core.errors import WeightsMissing
from core.messages import TagOptions
from core.ports import ObjectStore


@dataclass(frozen=True, slots=True)
class Choice:
    """The network that will serve a pool. `notice` says, for people, why it is not the wanted one."""

    network: Network
    weights: Weights
    notice: str = ""


def choose(
    pool: PoolSettings, settings: Settings, store: ObjectStore, download: weights.Progress | None = None
) -> Choice:
    """The pool's tagger if its weights can be had, else its fallback. Raises WeightsMissing if neither can."""
    wanted = network(pool.tagger)
    places = Places(pool.weights, settings.weights_folder, store, settings.cache)
    try:
        return Choice(wanted, weights.find(wanted, places, download=download))
    except WeightsMissing as missing:
        if not pool.fallback:
            raise
        fallback = network(pool.fallback)
        found = weights.find(fallback, Places("", settings.weights_folder, store, settings.cache), download=download)
        return Choice(fallback, found, f"Photos are tagged by {fallback.name}: {missing}.")


def load(choice: Choice, pool: PoolSettings, settings: Settings) -> ImageNetTagger:
    """The tagger, warmed and checked. Raises WeightsInvalid if it does not compute what it should."""
    threads = settings.worker.threads or _cores()
    defaults = TagOptions(top_k=pool.top_k, min_confidence=pool.min_confidence)
    chosen, found = choice.network, choice.weights
    if _engine_name(settings) == "torch":
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


def _engine_name(settings: Settings) -> str:
    if settings.worker.engine != "auto":
        return settings.worker.engine
    return "torch" if Path("/dev/nvidia0").exists() else "openvino"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
