"""Access: API keys, and sessions that let a browser sign in once with a key."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, g, request

from core.telemetry import logger
from web_tier.api.schemas.access import KeyRequest, KeysOut, NewKeyOut, SessionOut, SessionRequest
from web_tier.catalog.keys import Key
from web_tier.http.authentication import Authenticator, scopes_of
from web_tier.http.problems import Refused
from web_tier.http.request_parsing import Body
from web_tier.http.routes import Answer, Resource
from web_tier.services.container import Services
from web_tier.services.serializers import to_iso

_MAX_SIGN_IN = 16 << 10
"""Bytes of a request to sign in. Anybody may send one, so no more is read than a key needs."""


def keys_blueprint(services: Services) -> Blueprint:
    keys = Resource("keys", tag="keys")

    @keys.route("GET /keys", scope="operate", answer=KeysOut)
    def list_keys() -> dict[str, Any]:
        """List keys, newest first, without their secrets"""
        return {"keys": [_serialize(key) for key in services.keys.list_all()]}

    @keys.route(
        "POST /keys",
        scope="operate",
        body=KeyRequest,
        answer=Answer(NewKeyOut, 201, secret=True),
        errors={403: "Your own key lacks a scope"},
    )
    def create_key(body: KeyRequest) -> dict[str, Any]:
        """Create a key; no other answer contains its secret

        A key can't pass on a scope that it doesn't have itself.
        """
        if missing := sorted(set(body.scopes) - set(scopes_of(g.get("key")))):
            raise Refused(403, f"Your own key doesn't have the scope {', '.join(missing)}, and can't pass it on.")
        key, secret = services.keys.create(body.name, body.scopes, services.clock())
        logger().info("a key was made", key=key.id, scopes=key.scopes, by=_caller_id())
        return {**_serialize(key), "key": secret}

    @keys.route("DELETE /keys/<key_id>", scope="operate", answer=Answer(status=204), errors={404: "No such key"})
    def revoke_key(key_id: str) -> None:
        """Revoke a key: it and its sessions stop working at once"""
        services.keys.revoke(key_id, services.clock())
        logger().info("a key was revoked", key=key_id, by=_caller_id())

    return keys.blueprint


def sessions_blueprint(services: Services, authenticator: Authenticator) -> Blueprint:
    sessions = Resource("sessions", tag="keys")
    web = services.settings.web
    name = authenticator.cookie_name

    @sessions.route(
        "POST /session",
        scope="open",
        body=Body(SessionRequest, max_bytes=_MAX_SIGN_IN),
        answer=Answer(status=204),
        errors={401: "No such key", 429: "Too many wrong keys"},
    )
    def sign_in(body: SessionRequest) -> Response:
        """Sign in with a key

        The answer sets a cookie that replaces the key in this browser, until the key is revoked and for a few days at
        most. It ends the session that the browser had before.
        """
        key = services.keys.find(body.key.get_secret_value().strip())
        if key is None:
            authenticator.refuse_wrong_key()
        token = services.keys.start_session(
            key, services.clock(), lasts_s=web.session_s, instead_of=request.cookies.get(name)
        )
        services.keys.record_use(key, services.clock())
        response = Response(status=204)
        response.set_cookie(
            name,
            token,
            max_age=int(web.session_s),
            path="/",
            httponly=True,
            samesite="Strict",
            secure=web.https,
        )
        return response

    @sessions.route("GET /session", scope="open", answer=SessionOut)
    def get_session() -> dict[str, Any]:
        """Tell whether this server asks for a key, and what the caller may do"""
        required = authenticator.required
        session = authenticator.session_key() if required else None
        key = authenticator.caller(required=False) or session
        scopes = scopes_of(key) if key is not None or not required else []
        return {"required": required, "signed_in": session is not None, "scopes": scopes}

    @sessions.route("DELETE /session", scope="open", answer=Answer(status=204))
    def sign_out() -> Response:
        """Sign out: the session ends in this browser and on the server"""
        if token := request.cookies.get(name):
            services.keys.end_session(token)
        response = Response(status=204, headers={"Clear-Site-Data": '"cache"'})
        response.delete_cookie(name, path="/", httponly=True, samesite="Strict", secure=web.https)
        return response

    return sessions.blueprint


def _caller_id() -> str:
    """Return the id of the caller's key, for the log."""
    key: Key | None = g.get("key")
    return key.id if key is not None else "nobody's key"


def _serialize(key: Key) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "scopes": key.scopes,
        "created_at": to_iso(key.created_at),
        "last_used_at": to_iso(key.last_used_at),
        "revoked_at": to_iso(key.revoked_at),
    }
