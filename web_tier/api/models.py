"""Models: the tagger that each pool serves, and the models of the registry with their cards."""

from __future__ import annotations

from typing import Any

from flask import Blueprint

from core.storage.models import Manifest, Registry
from core.telemetry import logger
from web_tier.api.schemas.models import DefaultRequest, ModelsOut, RegisteredOut
from web_tier.http.routes import Resource
from web_tier.services.container import Services
from web_tier.services.serializers import to_iso


def blueprint(services: Services) -> Blueprint:
    models = Resource("models", tag="fleet")

    @models.route("GET /models", scope="read", answer=ModelsOut)
    def list_models() -> dict[str, Any]:
        """List the tagger of each pool, with the reason if it is not the wanted one"""
        statuses = {status.pool: status for status in services.backend.roster.pools()}
        listed = []
        for pool, pool_settings in services.settings.pools.items():
            status = statuses.get(pool)
            listed.append(
                {
                    "pool": pool,
                    "wanted": pool_settings.tagger,
                    "serves": status.serves if status else "",
                    "state": status.state if status else "preparing",
                    "notice": status.notice if status else "",
                }
            )
        return {"models": listed}

    @models.route("GET /models/registered", scope="read", answer=RegisteredOut)
    def list_registered_models() -> dict[str, Any]:
        """List the models of the registry, each version with its card

        A pool whose `wanted` tagger is a model's name serves that model's default version.
        """
        return _serialize_registry(Registry(services.backend.store))

    @models.route(
        "PUT /models/<name>/default",
        scope="operate",
        body=DefaultRequest,
        answer=RegisteredOut,
        errors={404: "There is no such model, or not in this version", 409: "The version's weights are damaged"},
    )
    def set_default_model(name: str, body: DefaultRequest) -> dict[str, Any]:
        """Set the version that a model's name means

        Workers of pools that name the model switch to it within seconds; no image is lost.
        """
        registry = Registry(services.backend.store)
        manifest = registry.set_default(f"{name}@{body.version}")
        logger().info("a model's default was set", model=manifest.reference)
        return _serialize_registry(registry)

    return models.blueprint


def _serialize_registry(registry: Registry) -> dict[str, Any]:
    manifests, damaged = registry.list()
    defaults = {name: registry.default(name) for name in {manifest.name for manifest in manifests}}
    models = [_serialize(manifest, default=defaults[manifest.name] == manifest.version) for manifest in manifests]
    return {"models": models, "damaged": damaged}


def _serialize(manifest: Manifest, *, default: bool) -> dict[str, Any]:
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
