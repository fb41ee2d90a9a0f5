"""Which tagger a pool really serves, and how it comes to life: its family finds the weights, or its fallback does."""

from __future__ import annotations

import dataclasses
from importlib import import_module

from app_tier.models import networks
from app_tier.taggers import Choice, Progress, Wanted
from config.settings import PoolSettings, Settings
from config.taggers import family_of
from core.errors import WeightsMissing
from core.storage.models import Registry
from core.storage.ports import ObjectStore

_MODULES = {
    "adaptive": "app_tier.taggers.adaptive",
    "florence2": "app_tier.taggers.florence2",
}
"""Of families with code of their own; imported when such a tagger is asked for."""
_KNOWN = "app_tier.taggers.classifiers"
_REGISTERED = "app_tier.taggers.registered"


def choose(pool: PoolSettings, settings: Settings, store: ObjectStore, download: Progress | None = None) -> Choice:
    """The pool's tagger if its weights can be had, else its fallback. Raises WeightsMissing if neither can.

    A fallback is current for as long as the wanted tagger is missing.
    """
    wanted = Wanted(pool.tagger, pool, settings, store, download)
    try:
        return _found(wanted)
    except WeightsMissing as missing:
        if not pool.fallback:
            raise
        instead = dataclasses.replace(wanted, name=pool.fallback, pool=pool.model_copy(update={"weights": ""}))
        choice = _found(instead)
        notice = f"Photos are tagged by {choice.name}: {missing}."
        looked_for = dataclasses.replace(wanted, download=None)
        return dataclasses.replace(choice, current=lambda: _missing(looked_for), notice=notice)


def _missing(wanted: Wanted) -> bool:
    try:
        _found(wanted)
    except WeightsMissing:
        return True
    return False


def _found(wanted: Wanted) -> Choice:
    family = import_module(_MODULES.get(family_of(wanted.name)) or _of_model(wanted))
    choice: Choice = family.choose(wanted)
    return choice


def _of_model(wanted: Wanted) -> str:
    """A version in the registry goes before the weights that a network of the house would find elsewhere."""
    named_file = bool(wanted.pool.weights)
    if networks.known(wanted.name) and (named_file or Registry(wanted.store).default(wanted.name) is None):
        return _KNOWN
    return _REGISTERED
