"""`tagfleet collector`"""

from __future__ import annotations

import os
import signal
import threading
import time

import click

from config.settings import Settings
from core import telemetry
from core.fleet.pulse import Pulse
from core.util import parent_watch
from core.util.private import keep_private
from core.wiring import Backend
from tagfleet.cli.common import with_settings


@click.command("collector")
@with_settings()
def command(settings: Settings) -> None:
    """Bring results from the output queue into the catalogue."""
    from web_tier.catalog.database import catalog_url, migrate

    keep_private()
    telemetry.configure("collector", level=settings.log_level, format=settings.log_format)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    parent_watch.watch_parent(os.environ)
    backend = Backend(settings)
    with Pulse("collector", backend.roster, settings.stalled_s, environ=os.environ) as pulse:
        pulse.step("migrate", limited=False)
        migrate(catalog_url(settings))
        _collect(backend, settings, stop, pulse)


def _collect(backend: Backend, settings: Settings, stop: threading.Event, pulse: Pulse) -> None:
    from web_tier.catalog.database import Database, catalog_url
    from web_tier.catalog.results import ResultCatalog
    from web_tier.catalog.samples import SampleCatalog
    from web_tier.catalog.webhooks import WebhookCatalog
    from web_tier.collector.collector import Collector
    from web_tier.collector.sampler import Sampler
    from web_tier.collector.webhook_sender import WebhookSender
    from web_tier.services.fleet_view import FleetView
    from web_tier.services.webhook_client import WebhookClient

    database = Database(catalog_url(settings))
    sender = WebhookSender(
        WebhookCatalog(database), WebhookClient.from_settings(settings.webhooks, time.time), time.time
    )
    threading.Thread(target=sender.run, args=(stop,), name="webhooks", daemon=True).start()
    catalog = ResultCatalog(database)
    fleet = FleetView(backend.roster, lost_after_s=settings.controller.lost_after_s)
    sampler = Sampler(SampleCatalog(database), [backend.jobs(pool) for pool in settings.pools], fleet)
    threading.Thread(target=sampler.run, args=(stop,), name="sampler", daemon=True).start()
    Collector(backend, catalog, settings, time.time, pulse.step).run(stop)
