"""What a simulation plays on: a kind of worker, the cloud's weather, and the controller's settings."""

from __future__ import annotations

from dataclasses import dataclass, field

from config.schedule import Schedule
from config.settings import ControllerSettings


@dataclass(frozen=True, slots=True)
class Machine:
    """A worker. Times are in seconds, `throughput` in images/s."""

    throughput: float = 10.0
    batch: int = 8
    """Images it takes, and finishes, at once."""
    boot_s: float = 60.0
    """Median from the launch to ready."""
    price: float = 0.20
    """$/h; billed by the second from the launch on."""
    least_billed_s: float = 60.0
    """EC2 bills a minute at least of each instance."""
    visibility_timeout_s: float = 30.0
    """A dead worker's images come back after this."""
    heartbeat_s: float = 1.0


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
    """Mean time until a ready worker dies, in work or not; 0: none does."""
    hang_s: float = 0.0
    """Mean time until a ready worker stands still and says nothing; 0: none does."""
    interruption_s: float = 0.0
    """Mean time until a worker is taken away, with two minutes' notice; 0: never."""
    count_lag_s: float = 0.0
    """Mean age of a queue's counts."""
    count_noise: float = 0.0
    """Relative σ of a queue's counts."""
    phantoms: float = 0.0
    """Share of the readings, up to a minute after a change, that count messages that are not there."""
    list_lag_s: float = 0.0
    """Mean time until a new instance is listed."""
    no_capacity: float = 0.0
    """Share of the launches that meet an offering without capacity, which then lasts for minutes."""
    partial_launches: float = 0.0
    """Share of the launches that get only a part of what they asked for."""
    outages: float = 0.0
    """Share of the calls that are not answered."""


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
class Scene:
    machine: Machine
    weather: Weather
    controls: ControllerSettings
    schedule: Schedule = field(default_factory=Schedule)

    @property
    def ahead(self) -> bool:
        """Workers may be up without work: a run is then over when the work is."""
        return self.controls.forecast or bool(self.schedule.windows)


def on_aws(
    controls: ControllerSettings, machine: Machine, *, max_workers: int = 20, tick_s: float = 5.0
) -> ControllerSettings:
    """Settings for EC2's pace instead of a local process's: boots take a minute, readings cost requests."""
    return controls.model_copy(
        update={
            "tick_s": tick_s,
            "max_workers": max_workers,
            "backlog_target_s": 120.0,
            "utilisation": 1.0,
            "idle_keep_s": 5.0,
            "stabilisation_s": 5.0,
            "boot_prior_s": machine.boot_s,
            "throughput_prior": machine.throughput,
            "boot_deadline_s": 600.0,
            "lost_after_s": 30.0,
            "drain_deadline_s": 150.0,
            "lease_s": 2 * tick_s,
        }
    )


def scene(
    controls: ControllerSettings,
    machine: Machine | None = None,
    weather: Weather = USUAL,
    *,
    max_workers: int = 20,
    tick_s: float = 5.0,
) -> Scene:
    machine = machine or Machine()
    return Scene(machine, weather, on_aws(controls, machine, max_workers=max_workers, tick_s=tick_s))
