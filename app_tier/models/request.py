"""The request for a tagger: its name, the pool's settings, and where its files may come from."""

from __future__ import annotations

from dataclasses import dataclass

from app_tier.models.downloading import DownloadProgress
from config.settings import PoolSettings, Settings
from core.storage.ports import ObjectStore


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """A request for the tagger `name`, to serve a pool.

    With `download`, weights may be downloaded from the internet; it is called with the progress.
    """

    name: str
    pool: PoolSettings
    settings: Settings
    store: ObjectStore
    download: DownloadProgress | None = None
