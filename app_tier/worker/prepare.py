"""Makes a pool's first worker start fast: gets its weights and converts its engine ahead of time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from app_tier.taggers import Progress
from app_tier.worker import selection as serving
from config.settings import Settings
from core.errors import TagfleetError
from core.fleet.roster import PoolStatus
from core.wiring import Backend


def prepare(
    pool: str, settings: Settings, backend: Backend, clock: Callable[[], float], progress: Progress
) -> PoolStatus:
    """Find or download the pool's weights, warm its engine's cache, and write down what the pool serves.

    The status is in the roster before and after; a pool that can't be served ends as `failed`, with the reason.
    """
    wanted = settings.pools[pool]

    def tell(state: Literal["preparing", "ready", "failed"], serves: str, notice: str = "") -> PoolStatus:
        status = PoolStatus(pool=pool, wanted=wanted.tagger, serves=serves, state=state, notice=notice, at=clock())
        backend.roster.set_pool(status)
        return status

    tell("preparing", wanted.tagger)
    try:
        choice = serving.choose(wanted, settings, backend.store, download=progress)
        tell("preparing", choice.name, choice.notice)
        tagger = choice.load()
    except TagfleetError as error:
        return tell("failed", "", f"No photo can be tagged by {pool}: {error}.")
    return tell("ready", tagger.version, choice.notice)
