"""Everything the routes work with, built once per process and handed to each blueprint."""

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
from web_tier.catalog.lifecycle import LifecycleCatalog
from web_tier.catalog.removal import RemovalCatalog
from web_tier.catalog.result_queries import ResultQueries
from web_tier.catalog.tags import TagCatalog
from web_tier.catalog.uploads import UploadCatalog
from web_tier.catalog.webhooks import WebhookCatalog
from web_tier.http.prefer_wait import PreferWait
from web_tier.http.rate_limits import RateLimits
from web_tier.server.host import Host
from web_tier.services.dispatch import Dispatch
from web_tier.services.event_feeds import EventFeeds
from web_tier.services.feedback_publisher import FeedbackPublisher
from web_tier.services.fleet_view import FleetView
from web_tier.services.ingest import Ingest
from web_tier.services.lifecycle import BatchLifecycle
from web_tier.services.serializers import BatchSerializer
from web_tier.services.thumbnails import Thumbnails
from web_tier.services.webhook_client import WebhookClient

Clock = Callable[[], float]


@dataclass(frozen=True)
class Services:
    """The services of one process.

    `jobs` returns the queue of a pool, `clock` Unix seconds. `stopping` says whether the process is about to end, which
    ends event streams.
    """

    settings: Settings
    backend: Backend
    host: Host
    jobs: Callable[[str], Queue]
    database: Database
    catalog: Catalog
    results: ResultQueries
    tags: TagCatalog
    feedback: FeedbackPublisher
    clock: Clock
    stopping: Callable[[], bool]
    fleet: FleetView
    serialize_batch: BatchSerializer
    event_feeds: EventFeeds
    uploads: UploadCatalog
    ingest: Ingest
    lifecycle: BatchLifecycle
    removal: RemovalCatalog
    prefer_wait: PreferWait
    thumbnails: Thumbnails
    keys: KeyCatalog
    rate_limits: RateLimits
    webhooks: WebhookCatalog
    webhook_client: WebhookClient


def build_services(
    backend: Backend, settings: Settings, database: Database, host: Host, *, clock: Clock, stopping: Callable[[], bool]
) -> Services:
    """Build the services of one process. Those of all processes of a host have the same `host`."""
    catalog = Catalog(database)
    uploads = UploadCatalog(database)
    jobs = cache(backend.jobs)  # each call would open the queue anew
    dispatch = Dispatch(jobs, uploads)
    fleet = FleetView(backend.roster, lost_after_s=settings.controller.lost_after_s, record=host.fleet)
    serialize_batch = BatchSerializer(catalog, fleet, settings.collector, clock)
    return Services(
        settings=settings,
        backend=backend,
        host=host,
        jobs=jobs,
        database=database,
        catalog=catalog,
        results=ResultQueries(database),
        tags=TagCatalog(database),
        feedback=FeedbackPublisher(jobs, FeedbackCatalog(database), settings.learning_pools),
        clock=clock,
        stopping=stopping,
        fleet=fleet,
        serialize_batch=serialize_batch,
        event_feeds=EventFeeds(catalog, serialize_batch),
        uploads=uploads,
        ingest=Ingest(backend.store, uploads, dispatch, max_image_bytes=settings.web.max_image_mb << 20, clock=clock),
        lifecycle=BatchLifecycle(backend.store, LifecycleCatalog(database), dispatch, clock),
        removal=RemovalCatalog(database),
        prefer_wait=PreferWait(max(1, host.memory.share(settings.web.threads) // 4), stopping=stopping),
        thumbnails=Thumbnails(backend.store, backend.originals, turn=host.thumbnail),
        keys=KeyCatalog(database),
        rate_limits=RateLimits(settings.web.rate_per_s, settings.web.rate_burst, clock, host),
        webhooks=WebhookCatalog(database),
        webhook_client=WebhookClient.from_settings(settings.webhooks, clock),
    )
