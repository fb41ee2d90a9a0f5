from __future__ import annotations

import pytest

from config.settings import Settings
from controller.simulation.scenario import WorkerSpec, build_scenario
from tagfleet.deployment.shared_settings import fit_for_aws


@pytest.mark.parametrize("name", ["tick_s", "backlog_target_s", "utilisation", "idle_keep_s", "stabilisation_s"])
def test_what_is_deployed_on_aws_is_what_was_simulated(settings: Settings, name: str) -> None:
    simulated = build_scenario(settings.controller, WorkerSpec()).settings
    assert getattr(fit_for_aws(settings).controller, name) == getattr(simulated, name)
