"""Taggers of the model registry: `NAME` is the default version of that name, `NAME@VERSION` exactly that version."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from app_tier.models.networks import Network, describe_network
from app_tier.models.request import ModelRequest
from app_tier.models.weights import Weights
from app_tier.taggers import Tagger, TaggerHandle
from app_tier.taggers.classifiers import choose_engine, default_options, load_engines
from app_tier.taggers.imagenet import ImageNetTagger
from app_tier.taggers.multilabel import MultiLabelTagger
from core.storage.models import Manifest, Registry, content_of, place_of


def choose(request: ModelRequest) -> TaggerHandle:
    """Find the model in the registry. Raises WeightsMissing, WeightsInvalid for a damaged manifest, Unavailable."""
    registry = Registry(request.store)
    manifest = registry.find(request.name)
    pinned = "@" in request.name
    return TaggerHandle(
        manifest.reference,
        partial(_load, manifest, request),
        current=lambda: pinned or registry.default(manifest.name) == manifest.version,
        content=partial(content_of, request.store, manifest.name),
    )


def to_network(manifest: Manifest) -> Network:
    """Return the network that a model's manifest describes."""
    network = describe_network(manifest.name, manifest.architecture, manifest.labels, manifest.input)
    one_label = manifest.family == "imagenet"
    return replace(network, near_tie=network.near_tie if one_label else 0.0, temperature=manifest.temperature)


def to_weights(manifest: Manifest, path: Path) -> Weights:
    """Return the model's weights, identified by its network's hash.

    A converted engine contains the normalisation too, so the hash of the weights alone does not identify it.
    """
    return Weights(path, manifest.network_hash, "registry")


def _load(manifest: Manifest, request: ModelRequest) -> Tagger:
    network, weights = to_network(manifest), _fetch_needed(manifest, request)
    if manifest.family == "multilabel":
        engines = load_engines(network, weights, request.settings)
        return MultiLabelTagger(manifest, network, engines.fast)
    engines = load_engines(network, weights, request.settings, request.store)
    return ImageNetTagger(network, manifest.version, engines, default_options(request.pool))


def _fetch_needed(manifest: Manifest, request: ModelRequest) -> Weights:
    """Fetch what the engine needs: the converted form for OpenVINO if the registry has one, else the weights.

    With the converted form, the file that the returned weights name may not exist.
    """
    cache = request.settings.cache
    weights = to_weights(manifest, place_of(manifest, cache / "weights"))
    if choose_engine(request.settings) == "openvino":
        from app_tier.engines import converted

        if converted.fetch(to_network(manifest), weights.sha256, manifest.version, request.store, cache):
            return weights
    Registry(request.store).fetch(manifest, cache / "weights")
    return weights
