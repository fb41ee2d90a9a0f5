"""Keys over the API, for those whose own key may operate."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint
from flask import Response, g

from core.telemetry import logger
from web_tier.api.schemas.access import KeyRequest, KeysOut, NewKeyOut
from web_tier.catalog.keys import Key
from web_tier.http.authentication import scopes_of
from web_tier.http.problems import Refused
from web_tier.http.request_parsing import json_body
from web_tier.http.responses import json_response
from web_tier.services.container import Services
from web_tier.services.serializers import to_iso


def blueprint(services: Services) -> APIBlueprint:
    api = APIBlueprint("keys", __name__, tag="keys")

    @api.get("/keys")
    @api.output(KeysOut)
    def list_keys() -> Response:
        """List keys, the newest first; none tells its secret"""
        return json_response({"keys": [_shown(key) for key in services.keys.listed()]})

    @api.post("/keys")
    @api.output(NewKeyOut, status_code=201)
    @api.doc(responses={403: "Your own key lacks a scope", 422: "Bad request"})
    def create_key() -> Response:
        """Make a key; the answer is the only place where it is told

        A key passes on no scope that it has not itself.
        """
        wanted = json_body(KeyRequest)
        if missing := sorted(set(wanted.scopes) - set(scopes_of(g.get("key")))):
            raise Refused(403, f"Your own key has not the scope {', '.join(missing)}, and cannot pass it on.")
        key, secret = services.keys.create(wanted.name, wanted.scopes, services.clock())
        logger().info("a key was made", key=key.id, scopes=key.scopes, by=_by())
        return json_response({**_shown(key), "key": secret}, 201)

    @api.delete("/keys/<key_id>")
    @api.output({}, status_code=204)
    @api.doc(responses={404: "No such key"})
    def revoke_key(key_id: str) -> Response:
        """Revoke a key: neither it nor a session of it opens anything from now on"""
        services.keys.revoke(key_id, services.clock())
        logger().info("a key was revoked", key=key_id, by=_by())
        return Response(status=204)

    return api


def _by() -> str:
    """Whose key it was done with, for the log."""
    key: Key | None = g.get("key")
    return key.id if key is not None else "nobody's key"


def _shown(key: Key) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "scopes": key.scopes,
        "created_at": to_iso(key.created_at),
        "last_used_at": to_iso(key.last_used_at),
        "revoked_at": to_iso(key.revoked_at),
    }
