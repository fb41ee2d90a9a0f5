"""Everything that the routes work with, made once per process and handed to them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from config.settings import Settings
from core.ports import Queue
from core.wiring import Backend
from web_tier.catalog import Catalog
from web_tier.catalog_tags import TagCatalog
from web_tier.database import Database
from web_tier.feeds import Feeds
from web_tier.fleet_view import FleetView
from web_tier.intake import Intake
from web_tier.present import BatchPresenter
from web_tier.thumbnails import Thumbnails

Clock = Callable[[], float]


@dataclass(frozen=True)
class Parts:
    """`clock` gives Unix seconds; `stopping` says that the process is about to end, which ends event streams."""

    settings: Settings
    backend: Backend
    jobs: Callable[[str], Queue]
    database: Database
    catalog: Catalog
    tags: TagCatalog
    clock: Clock
    stopping: Callable[[], bool]
    fleet: FleetView
    present: BatchPresenter
    feeds: Feeds
    intake: Intake
    thumbnails: Thumbnails


def assemble(
    backend: Backend, settings: Settings, database: Database, *, clock: Clock, stopping: Callable[[], bool]
) -> Parts:
    catalog = Catalog(database)
    jobs = cache(backend.jobs)  # each call would open the queue anew
    fleet = FleetView(backend.roster, lost_after_s=settings.controller.lost_after_s, clock=time.monotonic)
    present = BatchPresenter(catalog, fleet, clock)
    return Parts(
        settings=settings,
        backend=backend,
        jobs=jobs,
        database=database,
        catalog=catalog,
        tags=TagCatalog(database),
        clock=clock,
        stopping=stopping,
        fleet=fleet,
        present=present,
        feeds=Feeds(catalog, present),
        intake=Intake(backend.store, jobs, catalog, max_image_bytes=settings.web.max_image_mb << 20, clock=clock),
        thumbnails=Thumbnails(backend.store),
    )
