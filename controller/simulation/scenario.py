"""The setting of a simulation: a kind of worker, the cloud's weather and the controller's settings."""

from __future__ import annotations

from dataclasses import dataclass, field

from config.schedule import Schedule
from config.settings import ControllerSettings


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """One kind of worker. Times are in seconds, `throughput` in images/s."""

    throughput: float = 10.0
    batch: int = 8
    """Images that it takes, and finishes, at once."""
    boot_s: float = 60.0
    """Median from launch to ready."""
    price: float = 0.20
    """$/h; billed by the second from the launch on."""
    least_billed_s: float = 60.0
    """EC2 bills at least a minute of each instance."""
    visibility_timeout_s: float = 30.0
    """A dead worker's images come back after this."""
    heartbeat_s: float = 1.0
    exit_s: float = 0.0
    """From a drained worker's last heartbeat until its instance stops."""
    shutdown_s: float = 5.0
    """From stopping to gone."""


@dataclass(frozen=True, slots=True)
class Weather:
    """How far the cloud is from its brochure. Shares are probabilities."""

    boot_spread: float = 0.0
    """σ of the boot time's logarithm."""
    work_spread: float = 0.0
    """σ of the logarithm of a batch's time."""
    failed_boots: float = 0.0
    """Share of the boots after which the instance ends itself."""
    hung_boots: float = 0.0
    """Share of the boots that never end."""
    slow_workers: float = 0.0
    """Share of the workers that are half as fast as the others."""
    death_s: float = 0.0
    """Mean time until a ready worker dies, busy or not; 0: never."""
    hang_s: float = 0.0
    """Mean time until a ready worker hangs and sends no more heartbeats; 0: never."""
    interruption_s: float = 0.0
    """Mean time until the market takes a worker back, with two minutes' notice; 0: never."""
    count_lag_s: float = 0.0
    """Mean age of a queue's counts."""
    count_noise: float = 0.0
    """Relative σ of a queue's counts."""
    phantoms: float = 0.0
    """Share of the readings, up to a minute after a change, that count messages that do not exist."""
    list_lag_s: float = 0.0
    """Mean time until the fleet lists a new instance."""
    no_capacity: float = 0.0
    """Share of the launches that meet an offering without capacity, which then lasts for minutes."""
    partial_launches: float = 0.0
    """Share of the launches that get only part of what they asked for."""
    outages: float = 0.0
    """Share of the calls that get no answer."""


CALM = Weather()
USUAL = Weather(
    boot_spread=0.15,
    work_spread=0.1,
    failed_boots=0.005,
    slow_workers=0.01,
    count_lag_s=2.0,
    count_noise=0.02,
    phantoms=0.002,
    list_lag_s=2.0,
)
ROUGH = Weather(
    boot_spread=0.4,
    work_spread=0.3,
    failed_boots=0.05,
    hung_boots=0.02,
    slow_workers=0.05,
    death_s=3 * 3600.0,
    hang_s=6 * 3600.0,
    interruption_s=2 * 3600.0,
    count_lag_s=10.0,
    count_noise=0.1,
    phantoms=0.01,
    list_lag_s=5.0,
    no_capacity=0.05,
    partial_launches=0.05,
    outages=0.005,
)
WEATHERS = {"calm": CALM, "usual": USUAL, "rough": ROUGH}


@dataclass(frozen=True, slots=True)
class Scenario:
    """Everything about a simulation but its arrivals and its seed."""

    worker: WorkerSpec
    weather: Weather
    settings: ControllerSettings
    schedule: Schedule = field(default_factory=Schedule)

    @property
    def runs_ahead(self) -> bool:
        """Whether workers may be up without work. A run then ends when its work ends, not when its workers leave."""
        return self.settings.forecast or bool(self.schedule.windows)


def pace_for_aws(
    settings: ControllerSettings, worker: WorkerSpec, *, max_workers: int = 20, tick_s: float = 5.0
) -> ControllerSettings:
    """Set EC2's pace in place of a local process's: boots take a minute and readings cost requests."""
    return settings.model_copy(
        update={
            "tick_s": tick_s,
            "max_workers": max_workers,
            "backlog_target_s": 120.0,
            "utilisation": 1.0,
            "idle_keep_s": 5.0,
            "stabilisation_s": 5.0,
            "boot_prior_s": worker.boot_s,
            "throughput_prior": worker.throughput,
            "boot_deadline_s": 600.0,
            "lost_after_s": 30.0,
            "drain_deadline_s": 150.0,
            "lease_s": 2 * tick_s,
        }
    )


def build_scenario(
    settings: ControllerSettings,
    worker: WorkerSpec | None = None,
    weather: Weather = USUAL,
    *,
    max_workers: int = 20,
    tick_s: float = 5.0,
) -> Scenario:
    """A scenario at EC2's pace; without `worker` the standard one."""
    worker = worker or WorkerSpec()
    return Scenario(worker, weather, pace_for_aws(settings, worker, max_workers=max_workers, tick_s=tick_s))
