"""Prepares a pool ahead of time, so that its first worker starts fast: fetches weights and converts the engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from app_tier.models.downloading import DownloadProgress
from app_tier.taggers.int8_offer import find_offer
from app_tier.worker import selection
from config.settings import PoolSettings, Settings
from core.errors import TagfleetError
from core.fleet.roster import PoolStatus
from core.wiring import Backend


def prepare(
    pool: str, settings: Settings, backend: Backend, clock: Callable[[], float], progress: DownloadProgress
) -> PoolStatus:
    """Find or download the pool's weights, convert its engine, and write the pool's status into the roster.

    The status is written at each step. A pool that cannot be served ends as `failed`, with the reason.
    """
    pool_settings = settings.pools[pool]

    def write_status(
        state: Literal["preparing", "ready", "failed"], serves: str, notice: str = "", offer: str = ""
    ) -> PoolStatus:
        status = PoolStatus(
            pool=pool, wanted=pool_settings.tagger, serves=serves, state=state, notice=notice, offer=offer, at=clock()
        )
        backend.roster.set_pool(status)
        return status

    write_status("preparing", pool_settings.tagger)
    try:
        handle = selection.choose(pool_settings, settings, backend.store, download=progress)
        write_status("preparing", handle.name, handle.notice)
        tagger = handle.load()
    except TagfleetError as error:
        return write_status("failed", "", f"No photo can be tagged by {pool}: {error}.")
    return write_status(
        "ready", tagger.version, handle.notice, "" if handle.notice else _find_offer(pool_settings, settings, backend)
    )


def _find_offer(pool: PoolSettings, settings: Settings, backend: Backend) -> str:
    try:
        return find_offer(pool, settings, backend.store)
    except TagfleetError:
        return ""  # the pool serves without it
