"""Run the controller as a process, over the configured backend."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, MutableMapping, Sequence
from contextlib import closing
from typing import TextIO

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
    worker_command: Sequence[str],
    stop: threading.Event,
    *,
    record: TextIO | None = None,
    environ: MutableMapping[str, str] = os.environ,
) -> None:
    """Keep the fleet at the size that its queues call for, until `stop` is set. The workers outlive the controller.

    `worker_command` starts one worker when `--pool P --instance I` are appended. Every tick is written to the file
    `record` (`events.replay`). Raises UnsuitableStore if the store would let two controllers act at once.
    """
    settings, write_tick = backend.settings, _tick_writer(backend, record)
    try:
        backend.check_store()
    except Unavailable as error:  # the store may answer later: the ledger's first write finds out
        telemetry.logger().warning("could not check whether the store has conditional writes", why=str(error))
    pulse = Pulse("controller", backend.roster, settings.stalled_s, environ=environ)
    with closing(backend.metrics()) as metrics, pulse:

        def on_tick(observation: Observation, plan: Plan) -> None:
            metrics.put(samples(observation, plan))
            write_tick(observation, plan)

        hooks = Hooks(on_tick=on_tick, step=pulse.step)
        ports = _ports(backend, worker_command)
        Controller(ports, settings.controller, schedules=settings.schedules, hooks=hooks).run(stop)


def dry_run(
    backend: Backend,
    worker_command: Sequence[str],
    stop: threading.Event,
    on_plan: Callable[[list[DecisionRecord]], None],
    *,
    record: TextIO | None = None,
) -> None:
    """Observe and decide until `stop` is set, and change nothing.

    `on_plan` gets each decision that differs from the one before. `record` is a file for every tick.
    """
    settings, hooks = backend.settings, Hooks(on_plan, _tick_writer(backend, record))
    ports = _ports(backend, worker_command)
    Controller(ports, settings.controller, schedules=settings.schedules, hooks=hooks, dry_run=True).run(stop)


def _ports(backend: Backend, worker_command: Sequence[str]) -> Ports:
    queues = {pool: backend.jobs(pool) for pool in backend.settings.pools}
    return Ports(store=backend.store, fleet=backend.fleet(worker_command), queues=queues)


def _tick_writer(backend: Backend, record: TextIO | None) -> Callable[[Observation, Plan], None]:
    if record is None:
        return Hooks.on_tick
    return tick_writer(record, select_policy(backend.settings.controller))
