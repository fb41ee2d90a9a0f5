"""`tagfleet worker`"""

import os
import signal
import socket
import sys
import time
import warnings

import click

from app_tier.worker import EXIT_HUNG, Hung, Identity, Worker, process_started_at
from config.settings import BadSetting, Settings
from core import telemetry
from core.wiring import Backend
from tagfleet.cli.common import with_settings


@click.command("worker", short_help="Run one worker until it is asked to drain.")
@with_settings("weights", "worker.engine", "worker.batch_size")
@click.option("--pool", default=None, help="the pool to serve; the first one if not given")
@click.option("--instance", default=None, help="this worker's id, given by the fleet that launches it")
def command(settings: Settings, pool: str | None, instance: str | None) -> None:
    """Run one worker: tag what waits in a pool's queue until asked to drain (SIGTERM)."""
    pool = pool or settings.default_pool
    if pool not in settings.pools:
        raise BadSetting(f"--pool {pool}: there is no such pool; there are: {', '.join(settings.pools)}")
    telemetry.configure("worker", level=settings.log_level, format=settings.log_format)
    worker_id = instance or f"hand-{socket.gethostname().lower()}-{os.getpid()}"
    telemetry.bind(worker=worker_id)
    warnings.filterwarnings("ignore", module="PIL")  # damaged metadata of people's photos is no news to an operator
    identity = Identity(worker_id, pool, process_started_at(time.time()), managed=instance is not None)
    worker = Worker(identity, settings, Backend(settings), time.time)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: worker.asked_to_drain.set())
    try:
        worker.run()
    except Hung:
        sys.stderr.flush()
        os._exit(EXIT_HUNG)  # the hung thread would keep an ordinary exit waiting
