"""Deployments on moto for whole-system tests, and photos for them."""

from __future__ import annotations

import io
import os
import random
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from PIL import Image

from bench.deployment import TAGFLEET
from tests.aws.deployment import AwsDeployment, Stack
from tests.cloud import Cloud

_PREPARED = {"TAGFLEET_POOLS__RESNET50__TAGGER": "efficientnet-lite0", "TAGFLEET_POOLS__RESNET50__FALLBACK": ""}


@pytest.fixture(scope="session")
def image(engine_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a machine image, with the engine converted as `install.sh` does."""
    home = tmp_path_factory.mktemp("image")
    brought = {"TAGFLEET_CACHE": str(engine_cache), "TAGFLEET_HOME": str(home), "TAGFLEET_LOG_FORMAT": "json"}
    ours = {name: value for name, value in os.environ.items() if not name.startswith("TAGFLEET_")}
    subprocess.run([*TAGFLEET, "prepare"], env={**ours, **brought, **_PREPARED}, check=True, capture_output=True)
    return brought


@pytest.fixture
def deploy(cloud: Cloud, image: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., AwsDeployment]]:
    """Make deployments, each with its own faults of EC2; end all their processes."""
    with ExitStack() as made:

        def make(*, max_workers: int, **faults: object) -> AwsDeployment:
            stack = Stack.make(cloud, cloud.name("fleet"), max_workers=max_workers)
            cloud.ec2(stack.name, **faults)
            deployment = AwsDeployment(cloud, stack, tmp_path / stack.name, image)
            return made.enter_context(deployment.running())

        yield make


@pytest.fixture(scope="session")
def make_photos() -> Callable[..., list[tuple[str, bytes]]]:
    """Make named JPEGs that all differ."""

    def make(count: int, *, first: int = 0) -> list[tuple[str, bytes]]:
        made = []
        for number in range(first, first + count):
            out = io.BytesIO()
            noise = random.Random(number).randbytes(48 * 36 * 3)
            Image.frombytes("RGB", (48, 36), noise).resize((640, 480)).save(out, "JPEG", quality=60)
            made.append((f"album/{number:04}.jpg", out.getvalue()))
        return made

    return make
