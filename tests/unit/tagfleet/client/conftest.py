"""A Tagfleet in memory, over real HTTP, that can be told to misbehave."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tagfleet.client import Client
from tagfleet.testing import Deployment, deployment


@pytest.fixture
def settings_of_service() -> dict[str, Any]:
    return {}


@pytest.fixture
def service(settings_of_service: dict[str, Any]) -> Iterator[Deployment]:
    """Every photo shows a dog, unless a test says otherwise."""
    with deployment(tagger=lambda _photo: {"dog": 0.93}, settings=settings_of_service) as fleet:
        yield fleet


@pytest.fixture
def client(service: Deployment) -> Client:
    return service.client()
