"""Taggers that are one forward pass: networks that the house knows, and those that its registry holds."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from pathlib import Path

from app_tier.engines import Engines, golden
from app_tier.models import weights
from app_tier.models.networks import NEAR_TIE, Network, network
from app_tier.models.weights import Places, Weights
from app_tier.taggers import Choice, Wanted
from app_tier.taggers.imagenet import ImageNetTagger
from config.settings import PoolSettings, Settings
from core import telemetry
from core.domain.messages import TagOptions
from core.errors import WeightsInvalid
from core.storage.models import Registry
from core.storage.ports import ObjectStore


def choose(wanted: Wanted) -> Choice:
    """Raises WeightsMissing."""
    known, found = located(wanted)
    named_file = bool(wanted.pool.weights)
    return Choice(
        known.name,
        partial(_load, known, found, wanted),
        current=lambda: named_file or Registry(wanted.store).default(wanted.name) is None,
    )


def located(wanted: Wanted) -> tuple[Network, Weights]:
    """The network and its weights. Raises WeightsMissing."""
    known = network(wanted.name, wanted.settings.cache)
    places = Places(wanted.pool.weights, wanted.settings.weights_folder, wanted.store, wanted.settings.cache)
    return known, weights.find(known, places, download=wanted.download)


def _load(chosen: Network, found: Weights, wanted: Wanted) -> ImageNetTagger:
    engines = engines_of(chosen, found, wanted.settings, wanted.store)
    return ImageNetTagger(chosen, found.sha256, engines, defaults_of(wanted.pool))


def defaults_of(pool: PoolSettings) -> TagOptions:
    """What a batch gets that asks for nothing."""
    return TagOptions(top_k=pool.top_k, min_confidence=pool.min_confidence, cumulative=pool.cumulative or None)


def engines_of(chosen: Network, found: Weights, settings: Settings, store: ObjectStore | None = None) -> Engines:
    """What runs the network on this machine, warmed and checked. Raises WeightsInvalid, Unavailable.

    `store` is where its int8 form is looked for; none is given for a network of which not the top label counts.
    """
    threads = settings.worker.threads or cores()
    if engine_name(settings) == "torch":
        from app_tier.engines.torch import TorchEngine

        engine = TorchEngine(chosen, found.path, threads)
        engine.infer(golden.pixels(chosen.crop))
        return Engines(engine)

    from app_tier.engines import openvino

    precision = settings.worker.precision
    kept = openvino.keep(chosen, found.path, found.sha256, settings.cache)
    exact = partial(openvino.OpenVinoEngine, kept, threads, bf16=False)
    if store is not None and (narrow := _int8_of(chosen, found.sha256, settings, store, threads)):
        return replace(narrow, exact=exact)

    bf16 = precision == "bf16" or (precision != "fp32" and chosen.bf16)
    fast = openvino.OpenVinoEngine(kept, threads, bf16=bf16)
    golden.check(fast, chosen.crop, kept.golden_outputs())
    return Engines(fast, exact, chosen.near_tie or NEAR_TIE) if fast.bf16 else Engines(fast)


def _int8_of(
    chosen: Network, weights_hash: str, settings: Settings, store: ObjectStore, threads: int
) -> Engines | None:
    """Its int8 form without the exact engine beside it; None where it has none that is to be run here.

    Raises WeightsInvalid for a damaged one that the settings insist on, Unavailable.
    """
    from app_tier.engines import int8, openvino

    precision = settings.worker.precision
    if precision not in ("auto", "int8"):
        return None
    try:
        form = int8.fetch(chosen, weights_hash, store, settings.cache)
        if form is None or not (precision == "int8" or form.figures.offered):
            return None
        engine = openvino.OpenVinoEngine(form.kept, threads, bf16=False)
        golden.check(engine, chosen.crop, form.kept.golden_outputs())
    except WeightsInvalid as error:
        if precision == "int8":
            raise
        telemetry.logger().error("int8 is passed over", network=chosen.name, why=str(error))
        return None
    return Engines(engine, near_tie=form.figures.near_tie)


def engine_name(settings: Settings) -> str:
    if settings.worker.engine != "auto":
        return settings.worker.engine
    return "torch" if Path("/dev/nvidia0").exists() else "openvino"


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
