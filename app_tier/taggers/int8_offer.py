"""Says where measuring an int8 form would pay: a pool runs without one, and people have uploaded enough photos."""

from __future__ import annotations

import itertools

from app_tier.models.network_lookup import is_network
from app_tier.models.networks import Network
from app_tier.models.request import ModelRequest
from app_tier.taggers import registered
from app_tier.taggers.classifiers import choose_engine, locate
from config.settings import PoolSettings, Settings
from config.taggers import family_of
from core.storage import layout
from core.storage.models import Registry
from core.storage.ports import ObjectStore

ENOUGH_PHOTOS = 600
"""Photos that a measurement without labels needs. A third calibrates; on the others, chance moves the agreement with
fp32 by a point or two."""
_NOT_NETWORKS = ("adaptive", "florence2")


def find_offer(pool: PoolSettings, settings: Settings, store: ObjectStore) -> str:
    """Return a sentence with the command that measures int8 for the pool. Empty if nothing is to be offered.

    Nothing is offered once a form of these weights was measured, even if it was refused. Raises WeightsMissing,
    WeightsInvalid, Unavailable.
    """
    if settings.worker.precision != "auto" or choose_engine(settings) != "openvino":
        return ""
    candidate = _identify(pool, settings, store)
    if candidate is None:
        return ""
    from app_tier.engines import int8

    if int8.is_measured(*candidate, store) or not _has_enough_photos(store):
        return ""
    return (
        f"{pool.tagger} may run faster in int8: `tagfleet models quantise {pool.tagger} --from-store` measures it on a "
        "sample of the uploaded photos, and uses it if it is as good."
    )


def _identify(pool: PoolSettings, settings: Settings, store: ObjectStore) -> tuple[Network, str] | None:
    """Return a single-label network and the hash that identifies its weights; None for other taggers."""
    name = pool.tagger
    if family_of(name) in _NOT_NETWORKS:
        return None
    registry = Registry(store)
    if is_network(name):
        if not pool.weights and registry.default(name) is not None:
            return None  # the command would measure the published network, not the registry's version of it
        network, weights = locate(ModelRequest(name, pool, settings, store))
        return network, weights.sha256
    manifest = registry.find(name)
    return (registered.to_network(manifest), manifest.network_hash) if manifest.family == "imagenet" else None


def _has_enough_photos(store: ObjectStore) -> bool:
    return sum(1 for _ in itertools.islice(store.list(layout.UPLOADS), ENOUGH_PHOTOS)) == ENOUGH_PHOTOS
