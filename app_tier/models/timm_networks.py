"""Any classifier of timm's as a `Network`: its input by timm's own configuration, asked for once and kept."""

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

from app_tier.models.networks import TIMM, Network
from core.errors import WeightsInvalid, WeightsMissing

_LABELS = {1000: "imagenet1k"}
"""The only list of labels that their number alone tells."""


def described(name: str, kept: Path, version_of: Callable[[str], str] = metadata.version) -> Network:
    """The network `timm/NAME` or `timm/NAME.TAG`. `kept` is a folder; a second call for the name imports no timm.

    Raises WeightsMissing if timm has no such network or is not installed, WeightsInvalid if it is no classifier with
    known labels.
    """
    base = f"{name.replace('/', '-')}-timm"
    try:
        file = kept / f"{base}{version_of('timm')}.json"
    except metadata.PackageNotFoundError:
        return _of_any_timm(name, sorted(kept.glob(f"{glob.escape(base)}*.json")))
    with suppress(OSError, ValueError, TypeError):  # whatever is wrong with it, timm knows better
        return _read(file.read_text())
    network = _asked(name)
    with suppress(OSError):  # a cache that cannot be written costs an import, no more
        kept.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        part.write_text(json.dumps(dataclasses.asdict(network), indent=1))
        part.replace(file)
    return network


def _of_any_timm(name: str, files: Sequence[Path]) -> Network:
    for file in files:
        with suppress(OSError, ValueError, TypeError):
            return _read(file.read_text())
    raise WeightsMissing(
        f"{name} needs timm, which is not installed here, and nothing is kept of it: have another machine put it into "
        "the registry, `tagfleet models add`, and name that as the pool's tagger"
    )


def _read(text: str) -> Network:
    fields: dict[str, Any] = json.loads(text)
    return Network(**{**fields, "mean": tuple(fields["mean"]), "std": tuple(fields["std"])})


def _asked(name: str) -> Network:
    import timm

    wanted = name.removeprefix(TIMM)
    try:
        found = timm.get_pretrained_cfg(wanted)
    except RuntimeError:  # there is the network, and no weights under that tag
        found = None
    if found is None:
        raise WeightsMissing(f"timm has no network {wanted!r}: https://huggingface.co/timm lists them")
    channels, height, width = found.input_size
    if found.num_classes not in _LABELS:
        raise WeightsInvalid(
            f"{name} has {found.num_classes} outputs, and only ImageNet's 1,000 have names here: add it to the "
            "registry with its labels, `tagfleet models add`"
        )
    if (channels, height) != (3, width):
        raise WeightsInvalid(f"{name} takes {channels} × {height} × {width} pixels, and here pictures are RGB squares")
    return Network(
        name=name,
        architecture=name,
        labels=_LABELS[found.num_classes],
        resize=math.floor(width / found.crop_pct),
        crop=width,
        interpolation="bilinear" if found.interpolation == "bilinear" else "bicubic",
        mean=_of_channels(found.mean),
        std=_of_channels(found.std),
        bf16=False,
        download=f"https://huggingface.co/{found.hf_hub_id}/resolve/main/model.safetensors" if found.hf_hub_id else "",
    )


def _of_channels(values: Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = values
    return red, green, blue
