"""Taggers that are one forward pass of a known network, and the engines that run such networks."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from app_tier.engines import Engines, golden, gpu_choice
from app_tier.engines.settling import with_settling
from app_tier.models import weights
from app_tier.models.network_lookup import find_network
from app_tier.models.networks import NEAR_TIE, Network
from app_tier.models.request import ModelRequest
from app_tier.models.weights import Places, Weights
from app_tier.taggers import TaggerHandle
from app_tier.taggers.imagenet import ImageNetTagger
from config.settings import PoolSettings, Settings
from core import telemetry
from core.domain.messages import TagOptions
from core.errors import WeightsInvalid
from core.storage.models import Registry
from core.storage.ports import ObjectStore

if TYPE_CHECKING:
    from app_tier.engines.openvino import ConvertedNetwork


def choose(request: ModelRequest) -> TaggerHandle:
    """Find the network and its weights. Raises WeightsMissing."""
    network, found = locate(request)
    names_file = bool(request.pool.weights)
    return TaggerHandle(
        network.name,
        partial(_load, network, found, request),
        current=lambda: names_file or Registry(request.store).default(request.name) is None,
    )


def locate(request: ModelRequest) -> tuple[Network, Weights]:
    """Return the network and its weights. Raises WeightsMissing."""
    network = find_network(request.name, request.settings.cache)
    places = Places(request.pool.weights, request.settings.weights_folder, request.store, request.settings.cache)
    return network, weights.find(network, places, download=request.download)


def _load(network: Network, found: Weights, request: ModelRequest) -> ImageNetTagger:
    engines = load_engines(network, found, request.settings, request.store)
    return ImageNetTagger(network, found.sha256, engines, default_options(request.pool))


def default_options(pool: PoolSettings) -> TagOptions:
    """Return the pool's options, for batches that do not set their own."""
    return TagOptions(top_k=pool.top_k, min_confidence=pool.min_confidence, cumulative=pool.cumulative or None)


def load_engines(network: Network, found: Weights, settings: Settings, store: ObjectStore | None = None) -> Engines:
    """Load the engine for this machine, run it once, and check it. Raises WeightsInvalid, GpuUnusable, Unavailable.

    With `store`, the network's int8 form is used if it is offered; its near-ties are computed as without it. That is
    only right where the top label counts.
    """
    threads = settings.worker.threads or count_cores()
    if choose_engine(settings) == "torch":
        return _load_torch(network, found.path, settings, threads, settles=store is not None)

    from app_tier.engines import openvino

    converted = openvino.convert_once(network, found.path, found.sha256, settings.cache)
    bf16 = use_bf16(network, settings)
    without_int8 = partial(float_engines, network, converted, threads, bf16=bf16)
    if store is not None and (int8 := _load_int8(network, found.sha256, settings, store)):
        return replace(int8, exact=lambda: with_settling(without_int8()), exact_precision="bf16" if bf16 else "fp32")
    engines = without_int8()
    golden.check(engines.fast, network.crop, converted.golden_outputs())
    return engines


def use_bf16(network: Network, settings: Settings) -> bool:
    """Return whether the settings and this processor have the network run in bf16 where it has no int8 form."""
    from app_tier.engines import openvino

    precision = settings.worker.precision
    return (precision == "bf16" or (precision != "fp32" and network.bf16)) and openvino.has_bf16()


def float_engines(network: Network, converted: ConvertedNetwork, threads: int, *, bf16: bool) -> Engines:
    """Return bf16 with near-ties in fp32, or fp32 alone."""
    from app_tier.engines import openvino

    exact = partial(openvino.OpenVinoEngine, converted, threads, bf16=False)
    if not bf16:
        return Engines(exact())
    return Engines(openvino.OpenVinoEngine(converted, threads, bf16=True), exact, near_tie=network.near_tie or NEAR_TIE)


def _load_torch(network: Network, weights_file: Path, settings: Settings, threads: int, *, settles: bool) -> Engines:
    """Load a network by torch, on the GPU where one is expected, and in fp32 beside it where near-ties are settled.

    Raises GpuUnusable, WeightsInvalid.
    """
    device = gpu_choice.open_expected_gpu(settings.worker.device, fp32=settings.worker.precision == "fp32")
    from app_tier.engines import torch

    if device is None:
        return Engines(torch.load(network, weights_file, threads=threads))
    near_tie = (network.near_tie or NEAR_TIE) * device.precision.near_ties
    if not (settles and near_tie):
        return Engines(torch.load(network, weights_file, device))
    fast, exact = torch.load_with_exact(network, weights_file, device, device.exact())
    return Engines(fast, lambda: exact, near_tie)


def _load_int8(network: Network, weights_hash: str, settings: Settings, store: ObjectStore) -> Engines | None:
    """Load the int8 form, without the exact engine beside it. None where there is no int8 form to run here.

    Raises WeightsInvalid for a damaged form if the settings require int8, and Unavailable.
    """
    from app_tier.engines import int8, openvino

    precision = settings.worker.precision
    if precision not in ("auto", "int8"):
        return None
    try:
        form = int8.fetch(network, weights_hash, store, settings.cache)
        if form is None:
            return None
        if precision == "auto" and not form.figures.offered:
            telemetry.logger().info("the int8 form is not offered", network=network.name, why=form.figures.why_not)
            return None
        threads = settings.worker.threads or count_cores()
        engine = openvino.OpenVinoEngine(form.converted, threads, bf16=use_bf16(network, settings))
        golden.check(engine, network.crop, form.converted.golden_outputs())
    except WeightsInvalid as error:
        if precision == "int8":
            raise
        telemetry.logger().error("the int8 form is not used", network=network.name, why=str(error))
        return None
    return Engines(engine, near_tie=form.figures.near_tie)


def choose_engine(settings: Settings) -> str:
    """Return `torch` or `openvino`, by the settings, or by whether a GPU is expected on this machine."""
    if settings.worker.engine != "auto":
        return settings.worker.engine
    return "torch" if gpu_choice.expects_gpu(settings.worker.device) else "openvino"


def count_cores() -> int:
    """Return how many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
