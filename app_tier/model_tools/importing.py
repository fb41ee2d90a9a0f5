"""Adds a file of weights to the model registry: describes it, converts it to safetensors, and tries it once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from app_tier.models.network_lookup import find_network, is_network
from app_tier.models.networks import Network
from app_tier.taggers.registered import to_network, to_weights
from config.taggers import RESERVED
from config.validation import first_problem
from core.errors import WeightsInvalid
from core.storage.models import Input, Manifest, Registry, sha256_of
from core.storage.ports import ObjectStore


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """A person's description of a model. None means the value of the known network of that name."""

    name: str
    architecture: str | None = None
    labels: tuple[str, ...] | None = None
    multilabel: bool = False
    threshold: float = 0.5
    """The least probability at which a label of a multilabel model becomes a tag."""
    resize: int | None = None
    crop: int | None = None
    temperature: float = 1.0
    card: str = ""
    licence: str = ""


def describe(options: ModelOptions, weights: Path, created_at: float, cache: Path) -> Manifest:
    """Return the manifest of a file of weights. Raises WeightsInvalid, and WeightsMissing for an unknown network."""
    _check_name(options.name)
    base = _find_base(options, cache)
    labels = options.labels or (base.label_names if base else ())
    family: Literal["imagenet", "multilabel"] = "multilabel" if options.multilabel else "imagenet"
    crop = options.crop or (base.crop if base else 224)
    try:
        return Manifest(
            name=options.name,
            family=family,
            architecture=options.architecture or (base.architecture if base else ""),
            labels=labels,
            input=Input.model_validate(
                {
                    **(base.input.model_dump() if base else {}),
                    "resize": options.resize or (base.resize if base and not options.crop else crop),
                    "crop": crop,
                }
            ),
            thresholds=(options.threshold,) * len(labels) if options.multilabel else (),
            temperature=options.temperature,
            weights_sha256=sha256_of(weights),
            weights_bytes=weights.stat().st_size,
            licence=options.licence,
            card=options.card,
            created_at=created_at,
        )
    except ValidationError as error:
        raise WeightsInvalid(f"{options.name} cannot be added: {first_problem(error)}") from None


def rename(manifest: Manifest, name: str) -> Manifest:
    """Return the manifest with another name. Raises WeightsInvalid for a name that a model may not have."""
    _check_name(name)
    try:
        return Manifest.model_validate({**manifest.model_dump(), "name": name})
    except ValidationError as error:
        raise WeightsInvalid(f"{name} cannot be added: {first_problem(error)}") from None


def _check_name(name: str) -> None:
    if name in RESERVED:
        raise WeightsInvalid(f"{name} cannot be added: it is the name of a built-in tagger")


def _find_base(options: ModelOptions, cache: Path) -> Network | None:
    """Return the known or timm network of this name or architecture; None if the options suffice without one.

    Raises WeightsInvalid, and WeightsMissing for an unknown network.
    """
    for name in (options.name, options.architecture or ""):
        if is_network(name):
            try:
                return find_network(name, cache)
            except WeightsInvalid:
                continue  # a timm network without ImageNet's labels: the options must give them
    if options.architecture == "torchvision/resnet50":
        return find_network("resnet50")
    if options.architecture and options.labels:
        return None
    raise WeightsInvalid(
        f"the network of {options.name!r} is unknown: name it (`--architecture timm/NAME`), and give its labels"
    )


def add_model(manifest: Manifest, weights: Path, store: ObjectStore, cache: Path, *, default: bool) -> None:
    """Add a model to the registry, with its converted form for OpenVINO. The conversion checks the weights first.

    Raises WeightsInvalid as `check_weights` does, with nothing stored; Unavailable.
    """
    from app_tier.engines import converted

    converted.publish(to_network(manifest), to_weights(manifest, weights), manifest.version, store, cache)
    Registry(store).add(manifest, weights, default=default)


def check_weights(manifest: Manifest, weights: Path) -> None:
    """Raise WeightsInvalid unless the file holds weights of the manifest's network that give finite outputs."""
    from app_tier.engines import modules

    modules.build_and_check(to_network(manifest), weights)


def to_safetensors(weights: Path, folder: Path) -> Path:
    """Return a safetensors file unchanged, or convert torch's to one under `folder`. Raises WeightsInvalid."""
    if weights.suffix == ".safetensors":
        return weights
    from safetensors.torch import save_file

    from app_tier.engines import modules

    path = folder / "model.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in modules.read_tensors(weights).items()}, path)
    return path
