"""Which tagger each pool serves, and the models of the registry with their cards."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint
from flask import Response

from core.storage.models import Manifest, Registry
from core.telemetry import logger
from web_tier.api.schemas.models import DefaultRequest, ModelsOut, RegisteredOut
from web_tier.http.request_parsing import json_body
from web_tier.http.responses import json_response
from web_tier.services.container import Services
from web_tier.services.serializers import to_iso


def blueprint(services: Services) -> APIBlueprint:
    api = APIBlueprint("models", __name__, tag="fleet")

    @api.get("/models")
    @api.output(ModelsOut)
    def list_models() -> Response:
        """Which tagger each pool serves, and why where it is not the wanted one"""
        found = {status.pool: status for status in services.backend.roster.pools()}
        models = []
        for pool, pool_settings in services.settings.pools.items():
            status = found.get(pool)
            models.append(
                {
                    "pool": pool,
                    "wanted": pool_settings.tagger,
                    "serves": status.serves if status else "",
                    "state": status.state if status else "preparing",
                    "notice": status.notice if status else "",
                }
            )
        return json_response({"models": models})

    @api.get("/models/registered")
    @api.output(RegisteredOut)
    def list_registered_models() -> Response:
        """The models of the registry, each version with its card

        A pool whose `wanted` tagger is a model's name serves the version that is its default. `damaged` says what is
        wrong with manifests that cannot be read.
        """
        return json_response(_registered(Registry(services.backend.store)))

    @api.put("/models/<name>/default")
    @api.output(RegisteredOut)
    @api.doc(responses={404: "There is no such model, or not in this version"})
    def set_default_model(name: str) -> Response:
        """Make a version what a model's name means

        Workers whose pool names the model go over to it within seconds; no image is lost.
        """
        registry = Registry(services.backend.store)
        manifest = registry.set_default(f"{name}@{json_body(DefaultRequest).version}")
        logger().info("a model's default was set", model=manifest.reference)
        return json_response(_registered(registry))

    return api


def _registered(registry: Registry) -> dict[str, Any]:
    manifests, damaged = registry.list()
    defaults = {name: registry.default(name) for name in {manifest.name for manifest in manifests}}
    models = [_shown(manifest, default=defaults[manifest.name] == manifest.version) for manifest in manifests]
    return {"models": models, "damaged": damaged}


def _shown(manifest: Manifest, *, default: bool) -> dict[str, Any]:
    return {
        "reference": manifest.reference,
        "name": manifest.name,
        "version": manifest.version,
        "default": default,
        "family": manifest.family,
        "architecture": manifest.architecture,
        "labels": len(manifest.labels),
        "bytes": manifest.weights_bytes,
        "metrics": manifest.metrics,
        "trained_on": manifest.trained_on,
        "licence": manifest.licence,
        "card": manifest.card,
        "created_at": to_iso(manifest.created_at),
    }
