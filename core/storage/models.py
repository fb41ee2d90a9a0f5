"""The model registry: models in the store. A version is named by its content and never changes.

models/NAME/VERSION/model.safetensors    the weights
models/NAME/VERSION/model.json           the `Manifest`: everything else that determines the model's output
models/NAME/default.json                 the version that NAME without a version means

`Registry.fetch` checks the SHA-256 of the weights it copies.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from config.validation import first_problem
from core.errors import NotFound, PreconditionFailed, WeightsInvalid, WeightsMissing
from core.storage import layout
from core.storage.ports import IfAbsent, ObjectStore
from core.util.atomic import PRIVATE, atomic_path

_NAME = re.compile(r"^[a-z0-9]+(-[a-z0-9]+)*$")
_ARCHITECTURE = re.compile(r"^(torchvision|timm)/[A-Za-z0-9_.]+$")


def _check_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise PydanticCustomError("name", "should be lower-case letters and digits, with single dashes between them")
    return name


def _check_architecture(name: str) -> str:
    if not _ARCHITECTURE.fullmatch(name):
        raise PydanticCustomError("architecture", "should be torchvision/NAME or timm/NAME")
    return name


Name = Annotated[str, Field(max_length=60), AfterValidator(_check_name)]
WEIGHTS_FILE, MANIFEST_FILE = "model.safetensors", "model.json"

Share = Annotated[float, Field(ge=0, le=1)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_VERSION = re.compile(r"^[0-9a-f]{8}$")
_T = TypeVar("_T")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Input(_Part):
    """How an image becomes input: scaled to `resize` pixels at its shorter side, then cropped to `crop` × `crop`.

    `mean` and `std` are per channel, for pixels in 0..1.
    """

    resize: Annotated[int, Field(ge=16, le=2048)]
    crop: Annotated[int, Field(ge=16, le=2048)]
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)


class Manifest(_Part):
    """The description of a model, beside its weights."""

    name: Name
    family: Literal["imagenet", "multilabel"]
    """imagenet: one label of many, softmax. multilabel: each label by itself, sigmoid, with its own threshold."""
    architecture: Annotated[str, AfterValidator(_check_architecture)]
    labels: Annotated[tuple[str, ...], Field(min_length=1, max_length=100_000)]
    input: Input
    thresholds: tuple[Share, ...] = ()
    """For multilabel models: the least probability at which each label becomes a tag, in the order of `labels`."""
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """The outputs are divided by it before they become probabilities."""
    weights_sha256: Sha256
    weights_bytes: Annotated[int, Field(gt=0)]
    metrics: dict[str, float] = {}
    """Measured quality by name: `mAP`, `micro_f1`, …"""
    trained_on: str = ""
    licence: str = ""
    card: str = ""
    """Markdown for people."""
    created_at: float = 0.0

    @model_validator(mode="after")
    def _labels_and_thresholds_fit(self) -> Self:
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("labels: one of them is there twice")
        if self.family == "multilabel" and len(self.thresholds) != len(self.labels):
            raise ValueError(f"thresholds: {len(self.thresholds)} of them for {len(self.labels)} labels")
        return self

    @property
    def version(self) -> str:
        """Eight hex digits of a hash over all that determines the output: equal models have equal versions."""
        said = self.model_dump_json(exclude={"metrics", "trained_on", "licence", "card", "created_at"})
        return hashlib.sha256(said.encode()).hexdigest()[:8]

    @property
    def network_hash(self) -> str:
        """A hash over what determines the network's outputs, by which engines are cached. Versions may share it."""
        said = self.model_dump_json(include={"architecture", "input", "weights_sha256"})
        return hashlib.sha256(f"{said} {len(self.labels)}".encode()).hexdigest()

    @property
    def reference(self) -> str:
        """`NAME@VERSION`."""
        return f"{self.name}@{self.version}"


class Registry:
    """The models of one deployment."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def add(self, manifest: Manifest, weights: Path, *, default: bool = True) -> Manifest:
        """Store the model, weights first, so that every listed model is complete. Adding it again does no harm.

        With `default`, or if it is the first version, it becomes the default version of its name. Raises WeightsInvalid
        if the file does not match the manifest, Unavailable.
        """
        _check_weights(weights, manifest)
        prefix = layout.model_prefix(manifest.name, manifest.version)
        with weights.open("rb") as file:
            self._store.put(prefix + WEIGHTS_FILE, file)
        body = manifest.model_dump_json(indent=1).encode()
        self._store.put(prefix + MANIFEST_FILE, body, content_type="application/json")
        self._set_default(manifest, condition=None if default else IfAbsent())
        return manifest

    def list(self) -> tuple[list[Manifest], list[str]]:
        """Return all versions by name, newest first, and a message for each damaged one.

        Raises Unavailable.
        """
        keys = (info.key for info in self._store.list(layout.MODELS) if info.key.endswith("/" + MANIFEST_FILE))
        found, damaged = readable(keys, self._read)
        return sorted(found, key=lambda manifest: (manifest.name, -manifest.created_at, manifest.version)), damaged

    def damage(self, manifest: Manifest) -> str:
        """Fetch the weights and return what is wrong with them, "" if nothing is. Raises Unavailable."""
        with tempfile.TemporaryDirectory() as folder:
            try:
                self.fetch(manifest, Path(folder))
            except (WeightsInvalid, WeightsMissing) as error:
                return str(error)
        return ""

    def default(self, name: str) -> str | None:
        """Return the default version of `name`, None if there is none. Raises WeightsInvalid, Unavailable."""
        if not _NAME.fullmatch(name):
            return None
        try:
            said = _Default.model_validate_json(self._store.get(layout.model_default_key(name)).data)
        except NotFound:
            return None
        except ValidationError:
            raise WeightsInvalid(
                f"the registry's default of {name} is damaged: set it again, `tagfleet models default`"
            ) from None
        return said.version

    def find(self, reference: str) -> Manifest:
        """Return the manifest of `NAME` or `NAME@VERSION`. Raises WeightsMissing, WeightsInvalid, Unavailable."""
        name, version = self._resolve(reference)
        return self._read(layout.model_prefix(name, version) + MANIFEST_FILE)

    def fetch(self, manifest: Manifest, folder: Path) -> Path:
        """Copy the weights to a file under `folder`, check their hash, and return the file.

        A file of the right name and size is returned without a copy or a check. Raises WeightsMissing, WeightsInvalid
        if the weights are damaged, Unavailable.
        """
        path = place_of(manifest, folder)
        if path.is_file() and path.stat().st_size == manifest.weights_bytes:
            return path
        key = layout.model_prefix(manifest.name, manifest.version) + WEIGHTS_FILE
        try:
            data = self._store.get(key).data
        except NotFound:
            raise WeightsMissing(f"the weights of {manifest.reference} are no longer in the store") from None
        with atomic_path(path, mode=PRIVATE, make_parents=True) as part:
            part.write_bytes(data)
            _check_weights(part, manifest)
        return path

    def set_default(self, reference: str) -> Manifest:
        """Make this version the default of its name. Raises WeightsMissing, WeightsInvalid, Unavailable."""
        manifest = self.find(reference)
        self._set_default(manifest, condition=None)
        return manifest

    def remove(self, reference: str) -> str:
        """Delete a version, damaged or not, manifest first. Returns its `NAME@VERSION`.

        Raises WeightsMissing, Unavailable, and WeightsInvalid for the default version while there are others.
        """
        name, version = self._resolve(reference)
        keys = [info.key for info in self._store.list(layout.model_prefix(name, ""))]
        versions = [key.split("/")[2] for key in keys if key.endswith("/" + MANIFEST_FILE)]
        if version not in versions:
            raise WeightsMissing(f"there is no model {name}@{version} in the registry")
        others = [other for other in versions if other != version]
        is_default = self.default(name) == version
        if is_default and others:
            raise WeightsInvalid(
                f"{name}@{version} is the default of {name}: make another version the default first, "
                f"`tagfleet models default {name}@{others[0]}`"
            )
        prefix = layout.model_prefix(name, version)
        if is_default:
            self._store.delete([layout.model_default_key(name)])
        self._store.delete([prefix + MANIFEST_FILE])
        self._store.delete([key for key in keys if key.startswith(prefix)])
        return f"{name}@{version}"

    def _resolve(self, reference: str) -> tuple[str, str]:
        """Return name and version of `NAME` or `NAME@VERSION`; the model may not exist. Raises WeightsMissing."""
        name, _, version = reference.partition("@")
        version = version or self.default(name) or ""
        if not (_NAME.fullmatch(name) and _VERSION.fullmatch(version)):
            raise WeightsMissing(f"there is no model {reference!r} in the registry: `tagfleet models list` shows them")
        return name, version

    def _set_default(self, manifest: Manifest, condition: IfAbsent | None) -> None:
        body = _Default(version=manifest.version).model_dump_json().encode()
        key = layout.model_default_key(manifest.name)
        try:
            self._store.put(key, body, content_type="application/json", condition=condition)
        except PreconditionFailed:
            return  # there is one already

    def _read(self, key: str) -> Manifest:
        name, version = key.split("/")[1:3]
        try:
            manifest = _parse_manifest(self._store.get(key).data, f"{key} in the store")
        except NotFound:
            raise WeightsMissing(f"there is no model {name}@{version} in the registry") from None
        if manifest.reference != f"{name}@{version}":
            raise WeightsInvalid(
                f"the manifest of {name}@{version} was changed after it was added: add the model again"
            )
        return manifest


class _Default(_Part):
    version: Annotated[str, Field(pattern=_VERSION.pattern)]


def readable(keys: Iterable[str], read: Callable[[str], _T]) -> tuple[list[_T], list[str]]:
    """Read each key. Return the readable values, and a message for each damaged one; missing ones are left out."""
    found, damaged = [], []
    for key in keys:
        try:
            found.append(read(key))
        except WeightsInvalid as error:
            damaged.append(str(error))
        except (NotFound, WeightsMissing):
            continue
    return found, damaged


def content_of(store: ObjectStore, name: str) -> str:
    """Return a fingerprint that changes whenever a file of any version of the model is stored. Raises Unavailable."""
    return " ".join(f"{info.key} {info.etag} {info.modified}" for info in store.list(layout.model_prefix(name)))


def read_manifest(file: Path) -> Manifest:
    """Read the manifest of a model in a folder. Raises WeightsInvalid."""
    try:
        return _parse_manifest(file.read_bytes(), str(file))
    except OSError as error:
        raise WeightsInvalid(f"{file}: {error.strerror}; a model's folder must hold its manifest") from None


def _parse_manifest(data: bytes, where: str) -> Manifest:
    try:
        return Manifest.model_validate_json(data)
    except ValidationError as error:
        raise WeightsInvalid(f"{where} is not a model's manifest: {first_problem(error)}") from None


def place_of(manifest: Manifest, folder: Path) -> Path:
    """Return the file to which `Registry.fetch` copies the weights."""
    return folder / f"{manifest.reference}.safetensors"


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_weights(path: Path, manifest: Manifest) -> None:
    size, digest = path.stat().st_size, sha256_of(path)
    if (size, digest) != (manifest.weights_bytes, manifest.weights_sha256):
        raise WeightsInvalid(
            f"the weights of {manifest.reference} are damaged: {size} bytes with SHA-256 {digest[:12]}…, and its "
            f"manifest says {manifest.weights_bytes} bytes, {manifest.weights_sha256[:12]}…: add the model again"
        )
