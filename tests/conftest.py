"""Fixtures that tests of all kinds share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from config import settings as config
from config.settings import Settings


def test_data() -> Path | None:
    """The folder of real weights and photos: TAGFLEET_TEST_DATA, or ../shared/data beside the checkout; None where neither is."""
    named = os.environ.get("TAGFLEET_TEST_DATA")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    return folder if folder.is_dir() else None


test_data.__test__ = False  # type: ignore[attr-defined]  # a helper, whatever its name


@pytest.fixture(scope="session")
def data() -> Path:
    """Real weights and photos; the test is skipped in a clone that has none."""
    folder = test_data()
    if folder is None:
        pytest.skip("no test data (TAGFLEET_TEST_DATA)")
    return folder


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Defaults, with everything that is kept under `tmp_path`."""
    return config.load({}, flags={"home": str(tmp_path / "home"), "cache": str(tmp_path / "cache"), "port": 0})
