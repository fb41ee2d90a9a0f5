"""The web tier's application: the REST API, its description, and the page."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from flask import Blueprint, Flask, request

from config.settings import Settings
from core.wiring import Backend
from web_tier.api import (
    access,
    batches,
    dead_letters,
    description,
    events,
    fleet,
    health,
    images,
    models,
    tags,
    uploads,
    webhooks,
)
from web_tier.api.exports import routes as exports
from web_tier.catalog.database import ConnectionLost, Database, catalog_url
from web_tier.http import compression, guard, problems, routes
from web_tier.http.authentication import Authenticator
from web_tier.page import docs
from web_tier.page.routes import pages
from web_tier.server.host import Host
from web_tier.services.container import Clock, build_services

_MAX_BODY = 2 << 20
"""Bytes of a request that contains no images."""

_OPEN = frozenset({"pages", "docs", "openapi"})
"""Blueprints that everybody may read: they contain nothing that is not in our source."""


class _Application(Flask):
    def dispatch_request(self, *context: Any) -> Any:
        """Run a read again if it lost its connection to the catalogue: it has changed nothing."""
        try:
            return super().dispatch_request(*context)
        except ConnectionLost:
            if request.method not in ("GET", "HEAD"):
                raise
            return super().dispatch_request(*context)


def create_app(
    backend: Backend,
    settings: Settings,
    clock: Clock,
    *,
    host: Host | None = None,
    stopping: Callable[[], bool] = lambda: False,
    watch: bool = False,
) -> Flask:
    """Return the application over a catalogue that `database.migrate` has prepared; it belongs to the calling process.

    `host` is what it shares with the other web processes of this host; without it, there are no others.
    `clock` gives Unix seconds; once `stopping` is true, event streams end. With `watch` a thread reads the fleet's
    heartbeats until then, so that `/readyz` knows how long one has been missing.
    """
    app = _Application("web_tier", static_folder=None)  # the page brings its own
    app.config.update(
        MAX_CONTENT_LENGTH=_MAX_BODY,
        MAX_IMAGE_MB=settings.web.max_image_mb,
        MAX_REQUEST_MB=settings.web.max_request_mb,
    )
    app.json.sort_keys = False  # type: ignore[attr-defined]  # the default provider has it
    host = host or Host.create(settings.web.model_copy(update={"processes": 1}))
    database = Database(catalog_url(settings), processes=host.memory.processes)
    services = build_services(backend, settings, database, host, clock=clock, stopping=stopping)
    app.extensions["tagfleet"] = services
    if watch:
        services.fleet.start(stopping)
    authenticator = Authenticator(settings, services.keys, services.rate_limits, clock)
    compression.install(app, _OPEN)
    guard.install(app, settings)
    authenticator.install(app, _OPEN)
    problems.install(app)
    api = Blueprint("api", __name__, url_prefix="/api/v1")
    for resource in (
        batches.blueprint(services),
        uploads.blueprint(services),
        images.blueprint(services),
        events.blueprint(services, authenticator),
        exports.blueprint(services),
        tags.blueprint(services),
        fleet.blueprint(services),
        dead_letters.blueprint(services),
        models.blueprint(services),
        access.keys_blueprint(services),
        access.sessions_blueprint(services, authenticator),
        webhooks.blueprint(services),
    ):
        api.register_blueprint(resource)
    app.register_blueprint(api)
    app.register_blueprint(health.blueprint(services))
    describe = cache(lambda: description.describe(app))
    app.register_blueprint(description.blueprint(describe))
    app.register_blueprint(docs.blueprint(describe))
    app.register_blueprint(pages)
    routes.check(app, _OPEN)
    return app
