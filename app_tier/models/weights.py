"""Finds a network's weights: a path in the settings, the weights folder, the store, its package, a download."""

from __future__ import annotations

import hashlib
import re
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from app_tier.models.in_time import within
from app_tier.models.networks import Network
from app_tier.taggers import Progress
from core.errors import WeightsInvalid, WeightsMissing
from core.storage.models import Registry, sha256_of
from core.storage.ports import ObjectStore
from core.util.atomic import PRIVATE, atomic_path, atomic_write

FIRST_BYTE_S = 5.0
"""A download that has not begun by then is given up: there is no internet."""
_RESOLVE = "/resolve/"
"""In addresses of files at Hugging Face; with `/raw/` in its place they give a large file's pointer."""
_POINTER_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Weights:
    path: Path
    sha256: str
    origin: str
    """Where they came from, for people."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where to look. `path` is the pool's own setting; `folder` holds NAME.safetensors, with `-` for each `/`."""

    path: str
    folder: Path
    store: ObjectStore
    cache: Path


def find(network: Network, places: Places, *, download: Progress | None = None) -> Weights:
    """The first weights found, in the order of this module's first line; `download` allows the last step.

    Raises WeightsMissing, which says where one may put them, and WeightsInvalid for a download with a wrong hash.
    """
    for path, origin in _candidates(network, places):
        if path.is_file():
            return Weights(path, _fingerprint(path, places.cache), origin)
    why = "found nowhere"
    if download is not None and network.download:
        try:
            path = _downloaded(network.download, _download_cache(network, places), download)
            return Weights(path, _fingerprint(path, places.cache), "downloaded")
        except WeightsMissing as error:
            why = str(error)
    raise WeightsMissing(
        f"the weights of {network.name} could not be had ({why}). To use {network.name}, put "
        f"{network.file_name}.safetensors into {places.folder}, or name its folder in TAGFLEET_WEIGHTS, and start again"
    )


def _candidates(network: Network, places: Places) -> Iterator[tuple[Path, str]]:
    if places.path:
        path = Path(places.path).expanduser()
        if not path.is_file():
            raise WeightsMissing(f"weights of {network.name}: the settings name {path}, which is no file")
        yield path, "settings"
    yield places.folder / f"{network.file_name}.safetensors", "weights folder"
    if stored := _stored(network, places):
        yield stored, "registry"
    if network.package:
        yield from ((path, "package") for path in _packaged(network.package))
    if network.download:
        yield _download_cache(network, places), "download cache"


def _stored(network: Network, places: Places) -> Path | None:
    """Those of the version that is the name's default in the registry, where that is the same network."""
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
    name = f"{network.file_name}{published.suffix}" if _RESOLVE in network.download else published.name
    return places.cache / "weights" / name


def _downloaded(url: str, path: Path, progress: Progress) -> Path:
    wanted = _published_sha256(url)
    response = _open(url)
    digest = hashlib.sha256()

    def copy(file: IO[bytes]) -> None:
        total, done = int(response.headers.get("Content-Length") or 0), 0
        while chunk := response.read(1 << 20):
            digest.update(chunk)
            file.write(chunk)
            done += len(chunk)
            progress(done, total)
        if not digest.hexdigest().startswith(wanted):
            raise WeightsInvalid(f"{url}: the download is damaged (its SHA-256 is not {wanted})")

    try:
        with response, atomic_path(path, mode=PRIVATE, make_parents=True) as part, part.open("wb") as file:
            copy(file)
    except OSError as error:
        raise WeightsMissing(f"{url}: the download broke off ({error})") from None
    return path


def _published_sha256(url: str) -> str:
    """Its first digits as the name has them; Hugging Face tells all of them by the file's Git LFS pointer."""
    if _RESOLVE not in url:
        return Path(url).stem.rpartition("-")[2]
    try:
        with _open(url.replace(_RESOLVE, "/raw/")) as response:
            pointer = response.read(_POINTER_BYTES).decode("ascii", "replace")
    except OSError as error:
        raise WeightsMissing(f"{url}: the download broke off ({error})") from None
    found = re.search(r"^oid sha256:([0-9a-f]{64})$", pointer, re.MULTILINE)
    if not found:
        raise WeightsMissing(f"{url}: there is no hash by which the download could be checked")
    return found.group(1)


def _open(url: str) -> HTTPResponse:
    """The response, once its first byte is there. Raises WeightsMissing."""
    try:
        response: HTTPResponse = within(FIRST_BYTE_S, lambda: urllib.request.urlopen(url, timeout=FIRST_BYTE_S))  # noqa: S310  # https, from our own table
    except (OSError, HTTPException) as error:
        host = url.split("/")[2]
        raise WeightsMissing(f"{host} cannot be reached: {getattr(error, 'reason', error)}") from None
    return response


def _fingerprint(path: Path, cache: Path) -> str:
    """The file's SHA-256, remembered for as long as its size and its time of change are the same.

    A worker whose engine is kept needs nothing else of the file, and a new machine reads each byte from far away.
    """
    about = path.stat()
    seen = f"{path} {about.st_size} {about.st_mtime_ns} "
    kept = cache / "weights" / f"{hashlib.sha256(bytes(path)).hexdigest()[:16]}.seen"
    with suppress(OSError):
        if (found := kept.read_text()).startswith(seen):
            return found.removeprefix(seen)
    digest = sha256_of(path)
    with suppress(OSError):  # a cache that cannot be written costs a second read, no more
        atomic_write(kept, seen + digest, mode=PRIVATE, make_parents=True)
    return digest
