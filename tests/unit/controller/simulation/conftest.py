"""A small scene: workers that boot in ten seconds and do four images a second."""

from __future__ import annotations

import pytest

from config.settings import Settings
from controller.simulation.scene import CALM, Machine, Scene, scene
from tests.unit.controller.conftest import small
from tests.unit.controller.fakes import World

MACHINE = Machine(throughput=4.0, batch=4, boot_s=10.0, price=0.36, visibility_timeout_s=15.0)


@pytest.fixture
def stage(settings: Settings) -> Scene:
    return scene(settings.controller, MACHINE, CALM, max_workers=6)


@pytest.fixture
def world(settings: Settings) -> World:
    """A fleet that is no simulation: to be recorded."""
    return World(small(settings.controller))
