"""Prepare a deployment for any tagger. Random weights replace those that are not installed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from app_tier.models.network_lookup import is_network
from bench.deployment import Deployment
from core.storage.models import Input, Manifest, Registry, sha256_of
from core.storage.ports import ObjectStore

_COCO_LABELS = 80
_AT_HAND = ("resnet50", "efficientnet-lite0")


@dataclass(frozen=True)
class Served:
    """The deployment's extra environment, and `prepare`, which fills its store before it starts."""

    environ: dict[str, str] = field(default_factory=dict)
    prepare: Callable[[Deployment], None] = lambda deployment: None


def served(tagger: str, environ: Mapping[str, str], scratch: Path) -> Served:
    """Have the pool resnet50 serve `tagger`, without a fallback. Registers an unknown name as a multilabel model."""
    pool = {"TAGFLEET_POOLS__RESNET50__TAGGER": tagger, "TAGFLEET_POOLS__RESNET50__FALLBACK": ""}
    if tagger in _AT_HAND:
        return Served(pool)
    if tagger != "adaptive" and not is_network(tagger):
        return Served(pool, lambda deployment: _registered(tagger, deployment.backend.store, scratch))
    _weights(tagger, scratch, Path(environ["TAGFLEET_CACHE"]).expanduser())
    return Served(pool | {"TAGFLEET_WEIGHTS": str(scratch)})


def _weights(tagger: str, folder: Path, cache: Path) -> None:
    """Write random weights into `folder` for a network known by name, or for adaptive's backbone."""
    from safetensors.torch import save_file

    from app_tier.engines import modules
    from app_tier.models.network_lookup import find_network

    wanted = find_network("mobilenetv2" if tagger == "adaptive" else tagger, cache)
    state = modules.create_module(wanted.architecture, len(wanted.label_names)).state_dict()
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / f"{wanted.file_name}.safetensors")


def _registered(name: str, store: ObjectStore, folder: Path) -> None:
    """Register a ResNet50 with random weights and COCO's number of labels, as `tagfleet publish` does."""
    from safetensors.torch import save_file

    from app_tier.engines import modules

    weights = folder / f"{name}.safetensors"
    save_file(modules.create_module("torchvision/resnet50", _COCO_LABELS).state_dict(), weights)
    manifest = Manifest(
        name=name,
        family="multilabel",
        architecture="torchvision/resnet50",
        labels=tuple(f"thing {number}" for number in range(_COCO_LABELS)),
        input=Input(resize=232, crop=224),
        thresholds=(0.5,) * _COCO_LABELS,
        weights_sha256=sha256_of(weights),
        weights_bytes=weights.stat().st_size,
    )
    Registry(store).add(manifest, weights)
