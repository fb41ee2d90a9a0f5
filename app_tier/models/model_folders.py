"""Finds a model that is a folder of files, such as Florence-2.

The places, in order: a path in the settings, the weights folder, the store, an earlier download, a new download.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from app_tier.models.downloading import download_repository
from app_tier.models.request import ModelRequest
from core.errors import WeightsMissing
from core.storage import folders


@dataclass(frozen=True, slots=True)
class FoundFolder:
    """A model's folder that was found. `current` returns whether a new search would find the same one."""

    name: str
    """`NAME@VERSION` for a model in the store, else `NAME`: each other place holds only one version."""
    version: str
    fetch: Callable[[], Path]
    """Returns the model's folder on this machine, after copying it from the store if necessary. Raises WeightsMissing,
    WeightsInvalid if it is damaged, Unavailable."""
    current: Callable[[], bool] = lambda: True


def find(request: ModelRequest, name: str, repository: str) -> FoundFolder:
    """Return the first folder found, in the order above. `NAME@VERSION` is searched for in the store only.

    `repository` is the model's name at Hugging Face. Raises WeightsMissing, which says where to put the files,
    WeightsInvalid, Unavailable.
    """
    version = request.name.partition("@")[2]
    in_weights_folder = request.settings.weights_folder / name
    if request.pool.weights:
        return _local(name, Path(request.pool.weights).expanduser())
    if in_weights_folder.is_dir() and not version:
        return _local(name, in_weights_folder)
    if stored := _stored(request, name, version):
        return stored
    why = "found nowhere"
    if not version:
        downloaded = request.settings.cache / "weights" / repository.rpartition("/")[2]
        if downloaded.is_dir():
            return _local(name, downloaded)
        if request.download is not None:
            try:
                return _local(name, download_repository(repository, downloaded, request.download))
            except WeightsMissing as error:
                why = str(error)
    raise WeightsMissing(
        f"the weights of {request.name} are missing ({why}). To use {name}, put the files of "
        f"huggingface.co/{repository} into {in_weights_folder}, or name their folder as the pool's `weights`, and "
        "start again"
    )


def _local(name: str, folder: Path) -> FoundFolder:
    return FoundFolder(name, folders.version_of(folders.hashes(folder)), lambda: folder)


def _stored(request: ModelRequest, name: str, version: str) -> FoundFolder | None:
    manifest = folders.find(request.store, name, version)
    if manifest is None:
        return None
    fetch = partial(folders.fetch, request.store, manifest, request.settings.cache / "weights")

    def current() -> bool:
        return folders.find(request.store, name, version) == manifest

    return FoundFolder(manifest.reference, manifest.version, fetch, current)
