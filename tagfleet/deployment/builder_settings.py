"""What a machine that is baked needs to know of the pools: whose engines it can prepare, and whose not. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from app_tier.models import networks
from config import settings as config
from config.settings import PoolSettings, Settings
from config.taggers import family_of

_OF_A_POOL = re.compile(r"TAGFLEET_POOLS__.+(?<!__WEIGHTS)")
"""Paths of this machine mean nothing on another."""


def environment(settings: Settings) -> dict[str, str]:
    """As TAGFLEET_* variables, the pools whose engines a builder can prepare."""
    pools = {name: pool for name, pool in settings.pools.items() if not _why_not(pool)}
    found = config.as_environment(settings.model_copy(update={"pools": pools}))
    return {name: found[name] for name in found if _OF_A_POOL.fullmatch(name)}


def left_out(settings: Settings) -> Iterator[str]:
    """A sentence for each other pool."""
    for name, pool in settings.pools.items():
        if why := _why_not(pool):
            yield f"pool {name} is left out: {why}"


def _why_not(pool: PoolSettings) -> str:
    """A builder has no rights, so it reads no store."""
    family = family_of(pool.tagger)
    if family == "florence2":
        return "images come without transformers, so its workers would not start (docs/florence2.md)"
    if family == "model" and not networks.known(pool.tagger):
        return f"its workers fetch {pool.tagger} from the registry when they start"
    return ""
