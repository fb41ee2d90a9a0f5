"""`tagfleet worker`: run one worker process."""

import os
import signal
import socket
import sys
import time
import warnings

import click

from app_tier.worker.heartbeats import Identity
from app_tier.worker.worker import EXIT_HUNG, Hung, Worker, process_started_at
from config.settings import BadSetting, Settings
from core import telemetry
from core.storage.ports import Machine
from core.util.private import keep_private
from core.wiring import Backend
from tagfleet.cli.common import with_settings

_AUTO = "auto"


@click.command("worker", short_help="Run one worker until it is asked to drain.")
@with_settings("weights", "worker.engine", "worker.batch_size")
@click.option("--pool", default=None, help="pool to serve  [default: the first one]")
@click.option("--instance", default=None, help="this worker's id, any name; auto: the id of its EC2 instance")
def command(settings: Settings, pool: str | None, instance: str | None) -> None:
    """Run one worker: tag the images in a pool's queue until asked to drain (SIGTERM)."""
    pool = pool or settings.default_pool
    if pool not in settings.pools:
        raise BadSetting(f"--pool {pool}: there is no such pool; there are: {', '.join(settings.pools)}")
    keep_private()
    telemetry.configure("worker", level=settings.log_level, format=settings.log_format)
    backend = Backend(settings)
    machine = _machine(backend) if instance == _AUTO else None
    identity = (
        identify_instance(machine, pool, settings, backend) if machine else identify_process(instance, pool, backend)
    )
    telemetry.bind(worker=identity.worker_id)
    warnings.filterwarnings(
        "ignore", module="PIL"
    )  # Pillow warns of damaged metadata in people's photos, which operators need not see
    worker = Worker(identity, settings, backend, time.time, machine=machine)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: worker.asked_to_drain.set())
    try:
        worker.run()
    except Hung:
        sys.stderr.flush()
        os._exit(EXIT_HUNG)  # a normal exit would wait for the hung thread


def identify_process(instance: str | None, pool: str, backend: Backend) -> Identity:
    """Return the identity of a worker that is a process: `instance`, or a name made of host and process id."""
    worker_id = instance or f"hand-{socket.gethostname().lower()}-{os.getpid()}"
    launched = instance is not None and backend.settings.backend == "local" and backend.launched(instance)
    return Identity(worker_id, pool, process_started_at(time.time()), managed=launched)


def identify_instance(machine: Machine, pool: str, settings: Settings, backend: Backend) -> Identity:
    """Return the identity of a worker on a cloud instance.

    The instance's first worker measures its boot from the launch of the instance. A restarted worker measures it from
    its own start.
    """
    started, launched = process_started_at(time.time()), machine.launched_at
    of_launch = started - launched <= settings.controller.boot_deadline_s
    return Identity(machine.id, pool, launched if of_launch else started, managed=backend.launched(machine.id))


def _machine(backend: Backend) -> Machine:
    machine = backend.machine()
    if machine is None:
        raise BadSetting(f"--instance {_AUTO}: only an EC2 instance knows its id, and the setting backend is not aws")
    return machine
