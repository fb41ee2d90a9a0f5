"""A file of weights becomes a model of the registry: described, brought into one format, tried once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from app_tier.models.networks import Network, input_of, known, network
from app_tier.taggers.registered import network_of, weights_of
from config.taggers import RESERVED
from config.validation import first_problem
from core.errors import WeightsInvalid
from core.storage.models import Input, Manifest, Registry, sha256_of
from core.storage.ports import ObjectStore


@dataclass(frozen=True, slots=True)
class Wishes:
    """What is said of a model when it is added; None takes what is known of a network by its name."""

    name: str
    architecture: str | None = None
    labels: tuple[str, ...] | None = None
    multilabel: bool = False
    threshold: float = 0.5
    """From which probability on each label of a multilabel model is a tag."""
    resize: int | None = None
    crop: int | None = None
    temperature: float = 1.0
    card: str = ""
    licence: str = ""


def described(wishes: Wishes, weights: Path, created_at: float, cache: Path) -> Manifest:
    """The manifest of the file. Raises WeightsInvalid, WeightsMissing for a network that nobody knows."""
    _check_name(wishes.name)
    base = _base(wishes, cache)
    labels = wishes.labels or (base.label_names if base else ())
    family: Literal["imagenet", "multilabel"] = "multilabel" if wishes.multilabel else "imagenet"
    crop = wishes.crop or (base.crop if base else 224)
    try:
        return Manifest(
            name=wishes.name,
            family=family,
            architecture=wishes.architecture or (base.architecture if base else ""),
            labels=labels,
            input=Input.model_validate(
                {
                    **(input_of(base).model_dump() if base else {}),
                    "resize": wishes.resize or (base.resize if base and not wishes.crop else crop),
                    "crop": crop,
                }
            ),
            thresholds=(wishes.threshold,) * len(labels) if wishes.multilabel else (),
            temperature=wishes.temperature,
            weights_sha256=sha256_of(weights),
            weights_bytes=weights.stat().st_size,
            licence=wishes.licence,
            card=wishes.card,
            created_at=created_at,
        )
    except ValidationError as error:
        raise WeightsInvalid(f"{wishes.name} cannot be added: {first_problem(error)}") from None


def renamed(manifest: Manifest, name: str) -> Manifest:
    """Raises WeightsInvalid for a name that no model may have."""
    _check_name(name)
    try:
        return Manifest.model_validate({**manifest.model_dump(), "name": name})
    except ValidationError as error:
        raise WeightsInvalid(f"{name} cannot be added: {first_problem(error)}") from None


def _check_name(name: str) -> None:
    if name in RESERVED:
        raise WeightsInvalid(f"{name} cannot be added: a tagger of its own has that name already")


def _base(wishes: Wishes, cache: Path) -> Network | None:
    """What the house or timm knows of a network of this name or architecture."""
    for name in (wishes.name, wishes.architecture or ""):
        if known(name):
            try:
                return network(name, cache)
            except WeightsInvalid:
                continue  # timm's own labels are not ImageNet's; those that are given count
    if wishes.architecture == "torchvision/resnet50":
        return network("resnet50")
    if wishes.architecture and wishes.labels:
        return None
    raise WeightsInvalid(
        f"nothing is known of a model {wishes.name!r}: say its network (`--architecture timm/NAME`) and its labels"
    )


def adopt(manifest: Manifest, weights: Path, store: ObjectStore, cache: Path, *, default: bool) -> None:
    """Put a model into the registry, with its form for OpenVINO, which is made first: that tries the weights.

    Raises WeightsInvalid as `tried` does, and then nothing was put; Unavailable.
    """
    from app_tier.engines import converted

    converted.publish(network_of(manifest), weights_of(manifest, weights), manifest.version, store, cache)
    Registry(store).add(manifest, weights, default=default)


def tried(manifest: Manifest, weights: Path) -> None:
    """Raises WeightsInvalid unless the file holds weights of that network which give finite outputs."""
    from app_tier.engines import modules

    modules.tried(network_of(manifest), weights)


def as_safetensors(weights: Path, folder: Path) -> Path:
    """The file itself, or its tensors written anew where it is one of torch's. Raises WeightsInvalid."""
    if weights.suffix == ".safetensors":
        return weights
    from safetensors.torch import save_file

    from app_tier.engines import modules

    path = folder / "model.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in modules.tensors(weights).items()}, path)
    return path
