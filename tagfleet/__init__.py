"""Tagfleet: the command `tagfleet` and the Python client. The tiers are separate packages beside this one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tagfleet.client import Client

__version__ = "0.1.0"
__all__ = ["Client", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "Client":  # imported on demand: a worker starts without an HTTP library
        from tagfleet.client import Client

        return Client
    raise AttributeError(name)
