"""Models in the store that are a folder of files. A version is named by its content and never changes.

models/NAME/VERSION/files.json    the manifest: the files and their SHA-256
models/NAME/VERSION/…             the files
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from config.validation import first_problem
from core.errors import NotFound, WeightsInvalid, WeightsMissing
from core.storage import layout
from core.storage.models import Name, Sha256, readable, sha256_of
from core.storage.ports import ObjectStore
from core.util.atomic import atomic_folder

MANIFEST_FILE = "files.json"
NEEDED = ("config.json", "model.safetensors")
_KINDS = (".json", ".txt", ".safetensors")
"""Extensions of a model's files; none of them holds code."""

_MANIFEST_KEY = re.compile(rf"{re.escape(layout.MODELS)}[a-z0-9-]+/[0-9a-f]{{8}}/{re.escape(MANIFEST_FILE)}")

_FILE_NAME = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$")
FileName = Annotated[str, Field(pattern=_FILE_NAME.pattern)]


class FolderManifest(BaseModel):
    """The list of a model's files. `files` maps each name to its SHA-256; `added_at` is in Unix seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: Name
    files: dict[FileName, Sha256]
    added_at: float

    @property
    def version(self) -> str:
        return version_of(self.files)

    @property
    def reference(self) -> str:
        """`NAME@VERSION`."""
        return f"{self.name}@{self.version}"


def version_of(files: Mapping[str, str]) -> str:
    """Return eight hex digits of a hash over all names and hashes: equal files have equal versions everywhere."""
    said = "".join(f"{name} {digest}\n" for name, digest in sorted(files.items()))
    return hashlib.sha256(said.encode()).hexdigest()[:8]


def hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of the model in `folder`, without files of other names and extensions.

    Raises WeightsMissing if the folder holds no model.
    """
    if lacking := [name for name in NEEDED if not (folder / name).is_file()]:
        raise WeightsMissing(f"{folder} holds no model: it has no {' and no '.join(lacking)}")
    return {path.name: sha256_of(path) for path in sorted(folder.iterdir()) if _belongs(path)}


def _belongs(path: Path) -> bool:
    named = path.suffix in _KINDS and path.name != MANIFEST_FILE and _FILE_NAME.fullmatch(path.name)
    return bool(named) and path.is_file()


def add(store: ObjectStore, name: str, folder: Path, now: float) -> FolderManifest:
    """Store the model, manifest last. It becomes the newest version of its name.

    Raises WeightsMissing if the folder holds no model, Unavailable.
    """
    manifest = FolderManifest(name=name, files=hashes(folder), added_at=now)
    prefix = layout.model_prefix(name, manifest.version)
    for file in manifest.files:
        with (folder / file).open("rb") as data:
            store.put(prefix + file, data)
    store.put(prefix + MANIFEST_FILE, manifest.model_dump_json(indent=1).encode(), content_type="application/json")
    return manifest


def find(store: ObjectStore, name: str, version: str = "") -> FolderManifest | None:
    """Return this version, or without `version` the newest undamaged one; None if there is none.

    Raises WeightsInvalid if all versions found are damaged, Unavailable.
    """
    found, damaged = _list(store, layout.model_prefix(name, version))
    if damaged and not found:
        raise WeightsInvalid(damaged[0])
    return max(found, key=lambda manifest: manifest.added_at, default=None)


def every(store: ObjectStore) -> tuple[list[FolderManifest], list[str]]:
    """Return all versions of all these models by name, newest first, and a message for each damaged one.

    Raises Unavailable.
    """
    found, damaged = _list(store, layout.MODELS)
    return sorted(found, key=lambda manifest: (manifest.name, -manifest.added_at)), damaged


def _list(store: ObjectStore, prefix: str) -> tuple[list[FolderManifest], list[str]]:
    keys = (info.key for info in store.list(prefix) if _MANIFEST_KEY.fullmatch(info.key))
    return readable(keys, partial(_read, store))


def remove(store: ObjectStore, reference: str) -> bool:
    """Delete `NAME@VERSION`, damaged or not, manifest first. Returns False if there is none. Raises Unavailable."""
    prefix = layout.model_prefix(*reference.split("@", 1)) if "@" in reference else ""
    if not _MANIFEST_KEY.fullmatch(prefix + MANIFEST_FILE):
        return False
    keys = [info.key for info in store.list(prefix)]
    if prefix + MANIFEST_FILE not in keys:
        return False
    store.delete([prefix + MANIFEST_FILE])
    store.delete(keys)
    return True


def fetch(store: ObjectStore, manifest: FolderManifest, cache: Path) -> Path:
    """Return the model's folder under `cache`, which is always complete. The first call copies and checks the files.

    Raises WeightsMissing, WeightsInvalid if a file is damaged, Unavailable.
    """

    def copy(made: Path) -> None:
        for file, digest in manifest.files.items():
            key = layout.model_prefix(manifest.name, manifest.version) + file
            _write(store, key, made / file)
            if sha256_of(made / file) != digest:
                raise WeightsInvalid(f"{key} in the store is damaged: add the model again")

    return atomic_folder(cache / f"{manifest.name}@{manifest.version}", copy)


def _write(store: ObjectStore, key: str, path: Path) -> None:
    try:
        path.write_bytes(store.get(key).data)
    except NotFound:
        raise WeightsMissing(f"{key} is no longer in the store: add the model again") from None


def _read(store: ObjectStore, key: str) -> FolderManifest:
    _, name, version, _ = key.split("/")
    mend = f"add the model again, or `tagfleet models remove {name}@{version}`"
    try:
        manifest = FolderManifest.model_validate_json(store.get(key).data)
    except ValidationError as error:
        raise WeightsInvalid(f"{key} in the store is damaged ({first_problem(error)}): {mend}") from None
    if key != layout.model_prefix(manifest.name, manifest.version) + MANIFEST_FILE:
        raise WeightsInvalid(f"{key} in the store was changed after the model was added: {mend}")
    return manifest
