"""Finds a network by its name: in the table of known networks, or `timm/NAME` in timm's own configuration.

Importing timm imports torch, which takes seconds. So timm's description of a network is kept in a file, and a worker
that finds the file imports neither.
"""

from __future__ import annotations

import dataclasses
import glob
import json
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from app_tier.models.networks import NETWORKS, Network
from core.errors import WeightsInvalid, WeightsMissing
from core.util.atomic import atomic_write

TIMM = "timm/"
"""The prefix of the names of timm's classifiers."""
_LABELS = {1000: "imagenet1k"}
"""The label lists that the number of a network's outputs alone identifies."""


def is_network(name: str) -> bool:
    """Return whether this names a network, rather than a model in the registry."""
    return name in NETWORKS or name.startswith(TIMM)


def find_network(name: str, cache: Path | None = None) -> Network:
    """Return a network of the table, or `timm/NAME`, whose description is kept under `cache`.

    Raises WeightsMissing for an unknown name, WeightsInvalid for a network that does not classify ImageNet's 1,000
    labels.
    """
    if name in NETWORKS:
        return NETWORKS[name]
    if name.startswith(TIMM) and cache is not None:
        return find_timm_network(name, cache / "networks")
    names = ", ".join([*NETWORKS, f"{TIMM}NAME"])
    raise WeightsMissing(f"there is no tagger {name!r}; there are: {names}")


def find_timm_network(name: str, folder: Path, version_of: Callable[[str], str] = metadata.version) -> Network:
    """Return the network `timm/NAME` or `timm/NAME.TAG`, and keep its description in `folder`.

    A second call for the same name does not import timm. Raises WeightsMissing if timm has no such network or is not
    installed, WeightsInvalid if the network is not a classifier with known labels.
    """
    base = f"{name.replace('/', '-')}-timm"
    try:
        file = folder / f"{base}{version_of('timm')}.json"
    except metadata.PackageNotFoundError:
        return _read_any(name, sorted(folder.glob(f"{glob.escape(base)}*.json")))
    with suppress(OSError, ValueError, TypeError):  # a damaged file is written again
        return _read(file)
    network = _ask_timm(name)
    text = json.dumps(dataclasses.asdict(network), indent=1)
    with suppress(OSError):  # without a writable cache the next start just imports timm again
        atomic_write(file, text, make_parents=True)
    return network


def _read_any(name: str, files: Sequence[Path]) -> Network:
    """Return the first readable description, by any version of timm. Raises WeightsMissing if there is none."""
    for file in files:
        with suppress(OSError, ValueError, TypeError):
            return _read(file)
    raise WeightsMissing(
        f"{name} needs timm, which is not installed here, and no description of it is kept: add it to the registry on "
        "another machine, `tagfleet models add`, and name that model as the pool's tagger"
    )


def _read(file: Path) -> Network:
    fields: dict[str, Any] = json.loads(file.read_text())
    return Network(**{**fields, "mean": tuple(fields["mean"]), "std": tuple(fields["std"])})


def _ask_timm(name: str) -> Network:
    import timm

    timm_name = name.removeprefix(TIMM)
    try:
        config = timm.get_pretrained_cfg(timm_name)
    except RuntimeError:  # the network exists, but has no weights under that tag
        config = None
    if config is None:
        raise WeightsMissing(f"timm has no network {timm_name!r}: https://huggingface.co/timm lists them")
    channels, height, width = config.input_size
    if config.num_classes not in _LABELS:
        raise WeightsInvalid(
            f"{name} has {config.num_classes} outputs, and only ImageNet's 1,000 have names here: add it to the "
            "registry with its labels, `tagfleet models add`"
        )
    if (channels, height) != (3, width):
        raise WeightsInvalid(f"{name} takes {channels} × {height} × {width} pixels, but pictures here are RGB squares")
    address = f"https://huggingface.co/{config.hf_hub_id}/resolve/main/model.safetensors" if config.hf_hub_id else ""
    return Network(
        name=name,
        architecture=name,
        labels=_LABELS[config.num_classes],
        resize=math.floor(width / config.crop_pct),
        crop=width,
        interpolation="bilinear" if config.interpolation == "bilinear" else "bicubic",
        mean=_per_channel(config.mean),
        std=_per_channel(config.std),
        bf16=False,
        download=address,
    )


def _per_channel(values: Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = values
    return red, green, blue
