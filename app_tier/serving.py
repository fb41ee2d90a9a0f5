"""Which tagger a pool really serves, and how it comes to life: its family finds the weights, or its fallback does."""

from __future__ import annotations

import dataclasses
from importlib import import_module

from app_tier import networks
from app_tier.taggers import Choice, Progress, Wanted
from config.settings import PoolSettings, Settings
from core.errors import WeightsMissing
from core.ports import ObjectStore

_FAMILIES = {
    "adaptive": "app_tier.taggers.adaptive",
    "florence2": "app_tier.taggers.florence2",
}
"""Taggers with a module of their own; it is imported when such a tagger is asked for."""
_KNOWN = "app_tier.taggers.classifiers"
_REGISTERED = "app_tier.taggers.registered"


def choose(pool: PoolSettings, settings: Settings, store: ObjectStore, download: Progress | None = None) -> Choice:
    """The pool's tagger if its weights can be had, else its fallback. Raises WeightsMissing if neither can."""
    wanted = Wanted(pool.tagger, pool, settings, store, download)
    try:
        return _found(wanted)
    except WeightsMissing as missing:
        if not pool.fallback:
            raise
        instead = dataclasses.replace(wanted, name=pool.fallback, pool=pool.model_copy(update={"weights": ""}))
        choice = _found(instead)
        return dataclasses.replace(choice, notice=f"Photos are tagged by {choice.name}: {missing}.")


def _found(wanted: Wanted) -> Choice:
    otherwise = _KNOWN if networks.known(wanted.name) else _REGISTERED
    family = import_module(_FAMILIES.get(wanted.name.partition("@")[0], otherwise))
    choice: Choice = family.choose(wanted)
    return choice
