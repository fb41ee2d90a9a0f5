"""Finds a model that is a folder: a path in the settings, the weights folder, the store, a download."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from app_tier.models.in_time import within
from app_tier.taggers import Progress, Wanted
from core.errors import WeightsMissing
from core.storage import folders

FIRST_ANSWER_S = 5.0
"""A download that has not begun by then is given up: there is no internet."""
_FILES = ["*.json", "*.txt", "model.safetensors"]


@dataclass(frozen=True, slots=True)
class Found:
    """`current` says whether it would still be found."""

    name: str
    """`NAME@VERSION` of one that the store holds, else `NAME`: the other places hold one only."""
    version: str
    bring: Callable[[], Path]
    """Its folder on this machine; what lies in the store is copied for it. Raises WeightsMissing, WeightsInvalid if it
    is damaged, Unavailable."""
    current: Callable[[], bool] = lambda: True


def find(wanted: Wanted, name: str, repository: str) -> Found:
    """The first that is there, in the order of this module's first line; of `NAME@VERSION` the store alone knows.

    `repository` is that of Hugging Face. Raises WeightsMissing, which says where one may put it, and WeightsInvalid.
    """
    version = wanted.name.partition("@")[2]
    here = wanted.settings.weights_folder / name
    if wanted.pool.weights:
        return _local(name, Path(wanted.pool.weights).expanduser())
    if here.is_dir() and not version:
        return _local(name, here)
    if stored := _stored(wanted, name, version):
        return stored
    why = "found nowhere"
    if not version:
        kept = wanted.settings.cache / "weights" / repository.rpartition("/")[2]
        if kept.is_dir():
            return _local(name, kept)
        if wanted.download is not None:
            try:
                return _local(name, download(repository, kept, wanted.download))
            except WeightsMissing as error:
                why = str(error)
    raise WeightsMissing(
        f"the weights of {wanted.name} could not be had ({why}). To use {name}, put the files of "
        f"huggingface.co/{repository} into {here}, or name their folder as the pool's `weights`, and start again"
    )


def _local(name: str, folder: Path) -> Found:
    return Found(name, folders.version_of(folders.hashes(folder)), lambda: folder)


def _stored(wanted: Wanted, name: str, version: str) -> Found | None:
    manifest = folders.find(wanted.store, name, version)
    if manifest is None:
        return None
    bring = partial(folders.fetch, wanted.store, manifest, wanted.settings.cache / "weights")

    def current() -> bool:
        return folders.find(wanted.store, name, version) == manifest

    return Found(manifest.reference, manifest.version, bring, current)


def download(
    repository: str,
    folder: Path,
    progress: Progress,
    *,
    endpoint: str | None = None,
    first_answer_s: float = FIRST_ANSWER_S,
) -> Path:
    """Its files, of the kinds that hold no code, as `folder`, which appears whole or not at all.

    From `endpoint` (None: Hugging Face). What a broken download left is gone on with. Raises WeightsMissing.
    """
    from huggingface_hub import HfApi, snapshot_download

    api = HfApi(endpoint=endpoint, token=False)
    try:
        revision = within(first_answer_s, lambda: api.model_info(repository, timeout=first_answer_s).sha)
    except Exception as error:  # noqa: BLE001  # the library's own, or its transport's
        raise WeightsMissing(f"{api.endpoint} cannot be reached: {_line(error)}") from None
    part = folder.with_name(f".part-{folder.name}")
    progress(0, 0)
    try:
        snapshot_download(
            repository,
            revision=revision,
            local_dir=part,
            allow_patterns=_FILES,
            endpoint=endpoint,
            token=False,
            tqdm_class=_telling(progress),
        )
        part.replace(folder)
    except Exception as error:  # noqa: BLE001  # the library's own, its transport's and the disk's
        raise WeightsMissing(f"{repository}: the download broke off ({_line(error)})") from None
    return folder


def _telling(progress: Progress) -> Any:
    """A bar that is drawn nowhere and tells how many bytes there are."""
    from tqdm import tqdm

    class Telling(tqdm):  # type: ignore[misc]  # tqdm is untyped
        def __init__(self, *args: Any, **options: Any) -> None:
            self._of_bytes = options.get("unit") == "B"
            super().__init__(*args, **options | {"disable": True})

        def update(self, n: float | None = 1) -> None:
            self.n += n or 0
            if self._of_bytes:
                progress(int(self.n), int(self.total or 0))

    return Telling


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
