"""Fixtures and time limits for all kinds of tests."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as properties

from bench.data import test_data
from config import settings as config
from config.settings import Settings
from tests import cloud as clouds

properties.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
properties.load_profile("patient")  # a deadline would test how busy the machine is

SLOW_S = {"e2e": 600, "aws": 600, "browser": 300}
"""Seconds that a test with this marker may take unless it has its own limit: it waits for processes."""


def pytest_configure() -> None:
    """Restore SIGINT, which a shell ignores for background jobs: commands under test inherit it and need Ctrl-C."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give tests with a slow marker its time limit."""
    for item in items:
        limits = [limit for marker, limit in SLOW_S.items() if item.get_closest_marker(marker)]
        if limits and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(max(limits)))


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real weights and photos; skips the test if there is none."""
    folder = test_data(os.environ)
    if folder is None:
        pytest.skip("no test data (TAGFLEET_TEST_DATA)")
    return folder


@pytest.fixture(scope="session")
def engine_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of converted engines, shared by all tests of a session: a conversion takes seconds."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Default settings with all files under `tmp_path`."""
    return config.load({}, flags={"home": str(tmp_path / "home"), "cache": str(tmp_path / "cache"), "port": 0})


@pytest.fixture(scope="session")
def cloud() -> Iterator[clouds.Cloud]:
    """AWS on loopback. All tests of a session share it, so take names from `Cloud.name`."""
    with clouds.running() as running:
        yield running


@pytest.fixture(scope="session")
def second_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[clouds.Cloud]:
    """Another server of AWS's protocols, which has all of CloudFormation's resources. Shared like `cloud`."""
    from tests.stack import ministack

    if not ministack.PYTHON.exists():
        pytest.skip("no ministack: `make test` installs it")
    with ministack.running(tmp_path_factory.mktemp("ministack")) as running:
        yield running
