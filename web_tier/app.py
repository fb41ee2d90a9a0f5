"""The web tier's application: the REST API and, beside it, the page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from apiflask import APIBlueprint, APIFlask
from flask import request

from config.settings import Settings
from core.wiring import Backend
from web_tier.api import (
    batch_actions,
    batches,
    dead_letters,
    events,
    fleet,
    images,
    keys,
    known_images,
    models,
    openapi,
    operators,
    sessions,
    tags,
    uploads,
    webhooks,
)
from web_tier.api.exports import routes as exports
from web_tier.catalog.database import ConnectionLost, Database, catalog_url
from web_tier.http import authentication as access
from web_tier.http import guard, problems
from web_tier.page import docs
from web_tier.page.routes import pages
from web_tier.services.container import Clock, build_services

_MAX_BODY = 2 << 20
"""Bytes of a request that brings no images."""


class _Application(APIFlask):
    def dispatch_request(self, *context: Any) -> Any:
        """Answer once more where a read lost its connection to the catalogue: it has changed nothing."""
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
    stopping: Callable[[], bool] = lambda: False,
    watch: bool = False,
) -> APIFlask:
    """The application over a catalogue that `database.migrate` has made; used in the process that calls this.

    `clock` gives Unix seconds; once `stopping` is true, event streams end. With `watch` a thread looks at the fleet's
    signs of life until then, so that `/readyz` knows for how long one has been missing.
    """
    app = _Application("web_tier", title="Tagfleet", version="1", json_errors=False, docs_path=None, static_folder=None)  # type: ignore[arg-type]  # the page brings its own
    app.config.update(
        MAX_CONTENT_LENGTH=_MAX_BODY,
        MAX_IMAGE_MB=settings.web.max_image_mb,
        MAX_REQUEST_MB=settings.web.max_request_mb,
        AUTO_SERVERS=False,
        AUTO_OPERATION_ID=True,
    )
    app.json.sort_keys = False  # type: ignore[attr-defined]  # the default provider has it
    parts = build_services(backend, settings, Database(catalog_url(settings)), clock=clock, stopping=stopping)
    app.extensions["tagfleet"] = parts
    if watch:
        parts.fleet.keep_looking(stopping)
    guard.install(app, settings)
    access.install(app, parts)
    problems.install(app)
    openapi.install(app)
    api = APIBlueprint("api", __name__, url_prefix="/api/v1", enable_openapi=True)
    for module in (
        batches,
        batch_actions,
        uploads,
        known_images,
        images,
        events,
        fleet,
        operators,
        models,
        dead_letters,
        keys,
        sessions,
        webhooks,
        tags,
        exports,
    ):
        api.register_blueprint(module.blueprint(parts))
    app.register_blueprint(api)
    app.register_blueprint(fleet.health_blueprint(parts))
    app.register_blueprint(docs.blueprint(lambda: app.spec))
    app.register_blueprint(pages)
    return app
