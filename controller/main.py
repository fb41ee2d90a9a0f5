"""Run the controller as a process, over the configured backend."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, MutableMapping, Sequence
from contextlib import closing
from typing import TextIO

from config.settings import Settings
from controller.events.metrics import samples
from controller.events.replay import tick_writer
from controller.loop import Controller, Hooks, Ports
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
    """Keep the fleet at the size that its queues call for, until `stop` is set. The workers outlive the controller.

    `worker_command` starts one worker when `--pool P --instance I` are appended. A dry run changes nothing and calls
    `on_plan` with each new or changed decision. `record` is a file to write every tick to (`events.replay`). Raises
    UnsuitableStore if the store would let two controllers act at once.
    """
    ports = Ports(
        store=backend.store,
        fleet=backend.fleet(worker_command),
        queues={pool: backend.jobs(pool) for pool in settings.pools},
    )
    write_tick = tick_writer(record, select_policy(settings.controller)) if record else None
    if dry_run:
        hooks = Hooks(on_plan, write_tick or Hooks.on_tick)
        Controller(ports, settings.controller, schedules=settings.schedules, hooks=hooks, dry_run=True).run(stop)
        return
    try:
        backend.check_store()
    except Unavailable as error:  # the store may answer later: the ledger's first write finds out
        telemetry.logger().warning("could not check whether the store has conditional writes", why=str(error))
    pulse = Pulse("controller", backend.roster, settings.stalled_s, environ=environ)
    with closing(backend.metrics()) as metrics, pulse:

        def on_tick(observation: Observation, plan: Plan) -> None:
            metrics.put(samples(observation, plan))
            if write_tick:
                write_tick(observation, plan)

        hooks = Hooks(on_tick=on_tick, step=pulse.step)
        Controller(ports, settings.controller, schedules=settings.schedules, hooks=hooks).run(stop)
