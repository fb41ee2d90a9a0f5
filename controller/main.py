"""The controller as a process."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, MutableMapping, Sequence
from contextlib import closing
from typing import TextIO

from config.settings import Settings
from controller.events.metrics import samples
from controller.events.recording import recorder
from controller.loop import Controller, Ports
from controller.state.model import Observation, Plan, select_policy
from core import telemetry
from core.errors import Unavailable
from core.fleet.decisions import DecisionRecord
from core.fleet.pulse import Pulse
from core.wiring import Backend


def run(
    backend: Backend,
    settings: Settings,
    worker_command: Sequence[str],
    stop: threading.Event,
    *,
    dry_run: bool = False,
    on_plan: Callable[[list[DecisionRecord]], None] = lambda _records: None,
    record: TextIO | None = None,
    environ: MutableMapping[str, str] = os.environ,
) -> None:
    """Keep the fleet at the size that its queues call for until `stop` is set; workers outlive this.

    `worker_command` starts one worker when `--pool P --instance I` are appended. A dry run changes nothing, and hands
    each plan that differs from the one before to `on_plan`. `record` takes in every tick (`events.recording`).
    Raises UnsuitableStore where two controllers could act at once.
    """
    ports = Ports(
        store=backend.store,
        fleet=backend.fleet(worker_command),
        queues={pool: backend.jobs(pool) for pool in settings.pools},
    )
    note = recorder(record, select_policy(settings.controller)) if record else _unrecorded
    if dry_run:
        Controller(
            ports, settings.controller, dry_run=True, on_plan=on_plan, on_tick=note, schedules=settings.schedules
        ).run(stop)
        return
    try:
        backend.check_store()
    except Unavailable as error:  # as everything that answers later: the ledger's first write tells of it again
        telemetry.logger().warning("cannot tell whether the store has conditional writes", why=str(error))
    pulse = Pulse("controller", backend.roster, settings.stalled_s, environ=environ)
    with closing(backend.metrics()) as metrics, pulse:

        def on_tick(observation: Observation, plan: Plan) -> None:
            metrics.put(samples(observation, plan))
            note(observation, plan)

        Controller(ports, settings.controller, on_tick=on_tick, schedules=settings.schedules, step=pulse.step).run(stop)


def _unrecorded(observation: Observation, plan: Plan) -> None:
    pass
