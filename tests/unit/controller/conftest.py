"""A world with settings small enough to read along."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from config.settings import ControllerSettings, Settings
from controller.simulation.scenario import WorkerSpec
from controller.simulation.world import World
from controller.state.model import Policy, select_policy
from core.storage.ports import PROCESS, Offering

SMALL_WORKER = WorkerSpec(
    throughput=8.0, batch=8, boot_s=2.0, price=0.0, visibility_timeout_s=0.0, exit_s=1.0, shutdown_s=0.0
)
"""It takes and finishes a batch a second."""


def small(controls: ControllerSettings) -> ControllerSettings:
    """μ 8 images/s, B 2 s, L 10 s, a cap of 4; settle 3 s, linger 5 s."""
    return controls.model_copy(
        update={
            "max_workers": 4,
            "backlog_target_s": 10.0,
            "idle_keep_s": 5.0,
            "stabilisation_s": 3.0,
            "boot_prior_s": 2.0,
            "throughput_prior": 8.0,
            "boot_deadline_s": 20.0,
            "lost_after_s": 6.0,
            "drain_deadline_s": 10.0,
            "breaker_reset_s": 30.0,
        }
    )


def small_world(
    controls: ControllerSettings,
    pools: Sequence[str] = ("resnet50",),
    menu: Sequence[Offering] = (PROCESS,),
    **options: Any,
) -> World:
    """A world of small workers that `menu` offers."""
    world = World(controls, pools, SMALL_WORKER, **options)
    world.cloud.market.menu = list(menu)
    return world


@pytest.fixture
def controls(settings: Settings) -> ControllerSettings:
    return small(settings.controller)


@pytest.fixture
def policy(controls: ControllerSettings) -> Policy:
    return select_policy(controls)


@pytest.fixture
def world(controls: ControllerSettings) -> World:
    return small_world(controls)
