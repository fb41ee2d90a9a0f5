"""A stand-in for S3 and SQS, and our own clients of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench.small_cloud.process import SmallCloud, running
from config import settings as config
from core.wiring import Backend


@pytest.fixture
def cloud() -> Iterator[SmallCloud]:
    with running() as cloud:
        yield cloud


@pytest.fixture
def backend(cloud: SmallCloud, monkeypatch: pytest.MonkeyPatch) -> Backend:
    for name, value in cloud.environ.items():
        monkeypatch.setenv(name, value)
    return Backend(config.load(cloud.settings))
