"""A deployment in ministack, which creates the resources that moto's CloudFormation ignores."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cloud import Cloud
from tests.stack import ministack


@pytest.fixture(scope="session")
def second_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    if not ministack.PYTHON.exists():
        pytest.skip("no ministack: `make test` installs it")
    with ministack.running(tmp_path_factory.mktemp("ministack")) as running:
        yield running
