"""Finds a network's weights.

The places, in order: a path in the settings, the weights folder, the registry, the network's pip package, an earlier
download, a new download.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from app_tier.models.downloading import RESOLVE, DownloadProgress, download_file
from app_tier.models.networks import Network
from core.errors import WeightsMissing
from core.storage.models import Registry, sha256_of
from core.storage.ports import ObjectStore
from core.util.atomic import PRIVATE, atomic_write


@dataclass(frozen=True, slots=True)
class Weights:
    """A file of weights on this machine."""

    path: Path
    sha256: str
    """Identifies the weights, and the engines made from them."""
    origin: str
    """The place where they were found, for people."""


@dataclass(frozen=True, slots=True)
class Places:
    """The places. `path` is the pool's setting `weights`; `folder` holds NAME.safetensors, with `-` for `/`."""

    path: str
    folder: Path
    store: ObjectStore
    cache: Path


def find(network: Network, places: Places, *, download: DownloadProgress | None = None) -> Weights:
    """Return the first weights found, in the order above. Download them only with `download`.

    Raises WeightsMissing, which says where to put them, WeightsInvalid for a download with a wrong hash or a damaged
    model of the registry, Unavailable.
    """
    for path, origin in _candidates(network, places):
        if path.is_file():
            return Weights(path, _fingerprint(path, places.cache), origin)
    why = "found nowhere"
    if download is not None and network.download:
        try:
            path = download_file(network.download, _download_cache(network, places), download)
            return Weights(path, _fingerprint(path, places.cache), "downloaded")
        except WeightsMissing as error:
            why = str(error)
    raise WeightsMissing(
        f"the weights of {network.name} are missing ({why}). To use {network.name}, put "
        f"{network.file_name}.safetensors into {places.folder}, or name its folder in TAGFLEET_WEIGHTS, and start again"
    )


def _candidates(network: Network, places: Places) -> Iterator[tuple[Path, str]]:
    if places.path:
        path = Path(places.path).expanduser()
        if not path.is_file():
            raise WeightsMissing(f"weights of {network.name}: the settings name {path}, which is not a file")
        yield path, "settings"
    yield places.folder / f"{network.file_name}.safetensors", "weights folder"
    if stored := _stored(network, places):
        yield stored, "registry"
    if network.package:
        yield from ((path, "package") for path in _packaged(network.package))
    if network.download:
        yield _download_cache(network, places), "download cache"


def _stored(network: Network, places: Places) -> Path | None:
    """Return the weights of the registry's default version of this name, if it is the same network."""
    registry = Registry(places.store)
    version = registry.default(network.name)
    if version is None:
        return None
    manifest = registry.find(f"{network.name}@{version}")
    if manifest.architecture != network.architecture or len(manifest.labels) != len(network.label_names):
        return None
    return registry.fetch(manifest, places.cache / "weights")


def _packaged(package: str) -> Iterator[Path]:
    spec = find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        yield from sorted(Path(folder).glob("models/*.pth"))


def _download_cache(network: Network, places: Places) -> Path:
    published = Path(network.download)
    name = f"{network.file_name}{published.suffix}" if RESOLVE in network.download else published.name
    return places.cache / "weights" / name


def _fingerprint(path: Path, cache: Path) -> str:
    """Return the file's SHA-256, from the cache as long as the file's size and modification time stay the same.

    A worker with a converted engine needs only the hash, and reading the file is slow on a new machine.
    """
    stat = path.stat()
    seen = f"{path} {stat.st_size} {stat.st_mtime_ns} "
    kept = cache / "weights" / f"{hashlib.sha256(bytes(path)).hexdigest()[:16]}.seen"
    with suppress(OSError):
        if (found := kept.read_text()).startswith(seen):
            return found.removeprefix(seen)
    digest = sha256_of(path)
    with suppress(OSError):  # without a writable cache the file is read again at the next start
        atomic_write(kept, seen + digest, mode=PRIVATE, make_parents=True)
    return digest
