"""Taggers out of the registry: `NAME` for the version that is its default, `NAME@VERSION` for exactly that one."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from app_tier.models.networks import Network, of_model
from app_tier.models.weights import Weights
from app_tier.taggers import Choice, Tagger, Wanted
from app_tier.taggers.classifiers import defaults_of, engine_name, engines_of
from app_tier.taggers.imagenet import ImageNetTagger
from app_tier.taggers.multilabel import MultiLabelTagger
from core.storage.models import Manifest, Registry, content_of, place_of


def choose(wanted: Wanted) -> Choice:
    """Raises WeightsMissing, WeightsInvalid for a damaged manifest, Unavailable."""
    registry = Registry(wanted.store)
    manifest = registry.find(wanted.name)
    pinned = "@" in wanted.name
    return Choice(
        manifest.reference,
        partial(_load, manifest, wanted),
        current=lambda: pinned or registry.default(manifest.name) == manifest.version,
        content=partial(content_of, wanted.store, manifest.name),
    )


def network_of(manifest: Manifest) -> Network:
    network = of_model(manifest.name, manifest.architecture, manifest.labels, manifest.input)
    one_label = manifest.family == "imagenet"
    return replace(network, near_tie=network.near_tie if one_label else 0.0, temperature=manifest.temperature)


def weights_of(manifest: Manifest, path: Path) -> Weights:
    """Normalisation is part of a kept engine, so the hash that names it is not of the weights alone."""
    return Weights(path, manifest.network_hash, "registry")


def _load(manifest: Manifest, wanted: Wanted) -> Tagger:
    network, weights = network_of(manifest), _needed(manifest, wanted)
    if manifest.family == "multilabel":
        engines = engines_of(network, weights, wanted.settings)
        return MultiLabelTagger(manifest, network, engines.fast)
    engines = engines_of(network, weights, wanted.settings, wanted.store)
    return ImageNetTagger(network, manifest.version, engines, defaults_of(wanted.pool))


def _needed(manifest: Manifest, wanted: Wanted) -> Weights:
    """What an engine is made of: where the form for OpenVINO can be had, the file that they name may not be there."""
    cache = wanted.settings.cache
    weights = weights_of(manifest, place_of(manifest, cache / "weights"))
    if engine_name(wanted.settings) == "openvino":
        from app_tier.engines import converted

        if converted.bring(network_of(manifest), weights.sha256, manifest.version, wanted.store, cache):
            return weights
    Registry(wanted.store).fetch(manifest, cache / "weights")
    return weights
