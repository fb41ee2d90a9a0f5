"""Chooses the tagger that a pool serves: the one its settings name, or the fallback if its weights are missing."""

from __future__ import annotations

import dataclasses
from importlib import import_module

from app_tier.models.downloading import DownloadProgress
from app_tier.models.network_lookup import is_network
from app_tier.models.request import ModelRequest
from app_tier.taggers import TaggerHandle
from config.settings import PoolSettings, Settings
from config.taggers import family_of
from core.errors import WeightsMissing
from core.storage.models import Registry
from core.storage.ports import ObjectStore

_FAMILY_MODULES = {
    "adaptive": "app_tier.taggers.adaptive",
    "florence2": "app_tier.taggers.florence2",
}
"""The families with code of their own. Their modules are imported only when such a tagger is asked for."""
_KNOWN_NETWORK = "app_tier.taggers.classifiers"
_REGISTERED_MODEL = "app_tier.taggers.registered"


def choose(
    pool: PoolSettings, settings: Settings, store: ObjectStore, download: DownloadProgress | None = None
) -> TaggerHandle:
    """Return a handle of the pool's tagger if its weights are found, else of its fallback.

    A fallback is current while the tagger that was asked for is missing. Raises WeightsMissing if both are.
    """
    request = ModelRequest(pool.tagger, pool, settings, store, download)
    try:
        return _find(request)
    except WeightsMissing as missing:
        if not pool.fallback:
            raise
        instead = dataclasses.replace(request, name=pool.fallback, pool=pool.model_copy(update={"weights": ""}))
        handle = _find(instead)
        notice = f"Photos are tagged by {handle.name}: {missing}."
        without_download = dataclasses.replace(request, download=None)
        return dataclasses.replace(handle, current=lambda: _is_missing(without_download), notice=notice)


def _is_missing(request: ModelRequest) -> bool:
    try:
        _find(request)
    except WeightsMissing:
        return True
    return False


def _find(request: ModelRequest) -> TaggerHandle:
    family = import_module(_FAMILY_MODULES.get(family_of(request.name)) or _module_of_model(request))
    handle: TaggerHandle = family.choose(request)
    return handle


def _module_of_model(request: ModelRequest) -> str:
    """Choose between a known network and the registry. A version in the registry wins, unless the pool names a file."""
    names_file = bool(request.pool.weights)
    if is_network(request.name) and (names_file or Registry(request.store).default(request.name) is None):
        return _KNOWN_NETWORK
    return _REGISTERED_MODEL
