"""Which EC2 instance types have a GPU, and whether the pinned torch can run it. The table is `gpus.toml`."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

Capability = tuple[int, int]
_TABLE = Path(__file__).with_name("gpus.toml")
_UNLISTED = re.compile(r"(p|g|gr)\d")
"""Families with GPUs that the table may not list yet. Graviton's letter stands behind the number: m6g."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """A card and its compute capability."""

    card: str
    capability: Capability


def gpu_of(instance_type: str) -> Gpu | None:
    """Return the card of an instance type; None if it has none, or is not in the table."""
    entry = _table()["families"].get(instance_type.partition(".")[0])
    return entry and Gpu(entry["card"], (entry["capability"][0], entry["capability"][1]))


def has_gpu(instance_type: str) -> bool:
    """Return whether instances of this type have a GPU, by the table or, for newer types, by their name."""
    return gpu_of(instance_type) is not None or bool(_UNLISTED.match(instance_type))


def torch_version() -> str:
    """Return the version of torch whose kernels the table lists."""
    return str(_table()["torch"]["version"])


def torch_architectures() -> list[str]:
    """Return the architectures that the pinned torch has kernels for, on x86-64."""
    return list(_table()["torch"]["x86_64"])


def runs_on(architectures: Iterable[str], capability: Capability) -> bool:
    """Return whether kernels for `architectures` (`sm_75`) run on a card of this capability.

    A kernel runs on cards of its major version, from its own minor version on.
    """
    return any(major == capability[0] and minor <= capability[1] for major, minor in map(_to_capability, architectures))


def unsupported(instance_types: Sequence[str]) -> dict[str, Gpu]:
    """Return the types whose card the pinned torch cannot run, with the card."""
    found = {type_: gpu_of(type_) for type_ in instance_types}
    return {type_: gpu for type_, gpu in found.items() if gpu and not runs_on(torch_architectures(), gpu.capability)}


def explain_unsupported(instance_types: Sequence[str]) -> str:
    """Return a sentence about the types whose card the pinned torch cannot run; empty if there is none."""
    wrong = unsupported(instance_types)
    if not wrong:
        return ""
    cards = ", ".join(f"{type_} ({gpu.card}, {dotted(gpu.capability)})" for type_, gpu in wrong.items())
    capabilities = ", ".join(dotted(_to_capability(each)) for each in torch_architectures())
    return (
        f"no worker can start on {cards}: torch {torch_version()} has kernels for the compute capabilities "
        f"{capabilities}, and later ones of the same generation"
    )


def dotted(capability: Capability) -> str:
    """Return the usual form of a capability: 7.5."""
    return f"{capability[0]}.{capability[1]}"


def _to_capability(architecture: str) -> Capability:
    digits = re.sub(r"\D", "", architecture)
    return int(digits[:-1] or 0), int(digits[-1:] or 0)


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(_TABLE.read_text())
