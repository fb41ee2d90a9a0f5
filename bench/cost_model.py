"""What a million photos cost on an instance type: its bottleneck, its hours, and what is paid beside them. Pure.

1. A photo costs the worker's processor its decoding, the pipeline's work and, without a GPU, the network. These are
   measured in milliseconds of one core, and divided among the vCPUs as if each were such a core.
2. The slowest of processor, GPU and network bounds the images/s.
3. The instance is paid from its launch to its end: boot, work, and the time that it is kept idle.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import config
from bench.paths import Counted
from core.aws.prices import table
from tagfleet import request_prices

MILLION = 1_000_000
_MONTH_H = 720.0
_NETWORK_SHARE = 0.95
"""The share of the bandwidth that photos can use: the rest are headers, acknowledgements and messages."""


@dataclass(frozen=True)
class Figures:
    """What was measured, on one machine: `machine` names it and the date. Times are a core's, for one photo."""

    machine: str
    photo_kb: float
    decode_ms: float
    pipeline_ms: Mapping[str, float]
    """By path."""
    engine_ms: Mapping[str, float]
    """By tagger."""
    engines: Mapping[str, str]
    """By tagger: the engine and its precision."""
    requests: Mapping[str, Counted]
    """By path."""

    @classmethod
    def read(cls, path: Path) -> Figures:
        """Read what `write` wrote."""
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return cls(**found | {"requests": {name: Counted(**one) for name, one in found["requests"].items()}})

    def write(self, path: Path) -> None:
        """Write the figures as JSON, for people and for `read`."""
        path.write_text(json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class Instance:
    """An instance type. Without a `gpu` the network runs on its processor."""

    name: str
    vcpus: int
    mbit: float
    price: float
    """$/h on demand."""
    gpu: str = ""


@dataclass(frozen=True)
class Model:
    """Everything that is not measured: types, GPUs, prices, assumptions."""

    types: tuple[Instance, ...]
    gpus: Mapping[str, Mapping[str, float]]
    assumed: Mapping[str, float]
    network: Mapping[str, float] = field(default_factory=lambda: request_prices.TABLE["network"])
    storage: Mapping[str, float] = field(default_factory=lambda: request_prices.TABLE["storage"])


def load() -> Model:
    """Return the model of `config/cost-model.toml` with AWS's prices."""
    found = tomllib.loads(Path(config.__file__).with_name("cost-model.toml").read_text(encoding="utf-8"))
    prices = table()
    types = tuple(Instance(name, price=prices[name], **facts) for name, facts in found["types"].items())
    return Model(types, found["gpus"], found["assumptions"])


@dataclass(frozen=True)
class Rate:
    """The limits of one instance in images/s. `processor` includes the network where there is no GPU."""

    processor: float
    network: float
    gpu: float | None

    @property
    def images_per_s(self) -> float:
        return min(self.processor, self.network, self.gpu or self.processor)

    @property
    def bottleneck(self) -> str:
        """Return what bounds it: processor, network or GPU."""
        limits = {"processor": self.processor, "network": self.network, "GPU": self.gpu or float("inf")}
        return min(limits, key=lambda name: limits[name])


def rate_of(type_: Instance, path: str, tagger: str, figures: Figures, model: Model) -> Rate:
    """Return the limits of an instance that tags photos of a path with a tagger."""
    work_ms = figures.decode_ms + figures.pipeline_ms[path]
    if not type_.gpu:
        work_ms += figures.engine_ms[tagger]
    network = _NETWORK_SHARE * type_.mbit * 1e6 / 8 / (figures.photo_kb * 1000)
    gpu = model.gpus[type_.gpu]["fp16"] if type_.gpu else None
    return Rate(1000 * type_.vcpus / work_ms, network, gpu)


def hours_of(rate: float, model: Model) -> float:
    """Return the hours that one instance is paid for a million photos."""
    return (MILLION / rate + model.assumed["boot_s"] + model.assumed["idle_s"]) / 3600


def beside_per_hour(model: Model) -> float:
    """Return $/h of a worker beside its instance: disk, public address, heartbeats."""
    assumed, storage = model.assumed, model.storage
    disk = assumed["disk_gb"] * storage["gp3_gb_month"] + assumed["disk_mibps"] * storage["gp3_mibps_month"]
    return disk / _MONTH_H + model.network["public_address_hour"] + 3600 / assumed["heartbeat_s"] * request_prices.PUT


def dollars(rate: float, price: float, model: Model) -> float:
    """Return $ for the instance of a million photos, with what is paid beside it, without requests."""
    return hours_of(rate, model) * (price + beside_per_hour(model))
