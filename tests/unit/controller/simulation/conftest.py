"""A small scene: workers that boot in ten seconds and do four images a second."""

from __future__ import annotations

import pytest

from config.settings import Settings
from controller.simulation.scenario import CALM, Scenario, WorkerSpec, build_scenario
from controller.simulation.world import World
from tests.unit.controller.conftest import small, small_world

SPEC = WorkerSpec(throughput=4.0, batch=4, boot_s=10.0, price=0.36, visibility_timeout_s=15.0)


@pytest.fixture
def stage(settings: Settings) -> Scenario:
    return build_scenario(settings.controller, SPEC, CALM, max_workers=6)


@pytest.fixture
def world(settings: Settings) -> World:
    """A fleet that is no simulation: to be recorded."""
    return small_world(small(settings.controller))
