"""Everything that the routes work with, made once per process and handed to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from config.settings import Settings
from core.storage.ports import Queue
from core.wiring import Backend
from web_tier.catalog.batches import Catalog
from web_tier.catalog.database import Database
from web_tier.catalog.feedback import FeedbackCatalog
from web_tier.catalog.keys import KeyCatalog
from web_tier.catalog.lifecycle import LifeCatalog
from web_tier.catalog.removal import RemovalCatalog
from web_tier.catalog.tags import TagCatalog
from web_tier.catalog.uploads import UploadCatalog
from web_tier.catalog.webhooks import WebhookCatalog
from web_tier.http.prefer_wait import Waits
from web_tier.http.rate_limits import RateLimits
from web_tier.services.dispatch import Dispatch
from web_tier.services.feedback_publisher import Teaching
from web_tier.services.feeds import Feeds
from web_tier.services.fleet_view import FleetView
from web_tier.services.ingest import Intake
from web_tier.services.lifecycle import BatchLife
from web_tier.services.serializers import BatchPresenter
from web_tier.services.thumbnails import Thumbnails
from web_tier.services.webhook_client import Postman, postman_of

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
    teaching: Teaching
    clock: Clock
    stopping: Callable[[], bool]
    fleet: FleetView
    present: BatchPresenter
    feeds: Feeds
    uploads: UploadCatalog
    intake: Intake
    lives: LifeCatalog
    life: BatchLife
    removal: RemovalCatalog
    waits: Waits
    thumbnails: Thumbnails
    keys: KeyCatalog
    limits: RateLimits
    webhooks: WebhookCatalog
    postman: Postman


def assemble(
    backend: Backend, settings: Settings, database: Database, *, clock: Clock, stopping: Callable[[], bool]
) -> Parts:
    catalog = Catalog(database)
    uploads, lives = UploadCatalog(database), LifeCatalog(database)
    jobs = cache(backend.jobs)  # each call would open the queue anew
    dispatch = Dispatch(jobs, uploads)
    fleet = FleetView(backend.roster, lost_after_s=settings.controller.lost_after_s)
    present = BatchPresenter(catalog, fleet, settings.collector, clock)
    return Parts(
        settings=settings,
        backend=backend,
        jobs=jobs,
        database=database,
        catalog=catalog,
        tags=TagCatalog(database),
        teaching=Teaching(jobs, FeedbackCatalog(database), settings.learning_pools),
        clock=clock,
        stopping=stopping,
        fleet=fleet,
        present=present,
        feeds=Feeds(catalog, present),
        uploads=uploads,
        intake=Intake(backend.store, uploads, dispatch, max_image_bytes=settings.web.max_image_mb << 20, clock=clock),
        lives=lives,
        life=BatchLife(backend.store, lives, dispatch, clock),
        removal=RemovalCatalog(database),
        waits=Waits(max(1, settings.web.threads // 4), stopping=stopping),
        thumbnails=Thumbnails(backend.store, backend.originals),
        keys=KeyCatalog(database),
        limits=RateLimits(settings.web.rate_per_s, settings.web.rate_burst, clock),
        webhooks=WebhookCatalog(database),
        postman=postman_of(settings.webhooks, clock),
    )
