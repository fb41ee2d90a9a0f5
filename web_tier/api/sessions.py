"""Signing in: a key is given once, and a browser holds a session of it from then on."""

from __future__ import annotations

from apiflask import APIBlueprint
from flask import Response, request

from web_tier.api.schemas.access import SessionOut, SessionRequest
from web_tier.http.authentication import caller, cookie_name, scopes_of, session_key, wrong_key
from web_tier.http.network_policy import asks_for_keys
from web_tier.http.request_parsing import json_body
from web_tier.http.responses import json_response
from web_tier.services.container import Services

_MOST = 16 << 10
"""Bytes of the request to sign in, which anybody may send: more of it than a key needs is not read."""


def blueprint(services: Services) -> APIBlueprint:
    api = APIBlueprint("sessions", __name__, tag="keys")
    required = asks_for_keys(services.settings)

    @api.post("/session")
    @api.output({}, status_code=204)
    @api.doc(responses={401: "No such key", 422: "Bad request", 429: "Too many wrong keys"})
    def sign_in() -> Response:
        """Sign in with a key

        The answer sets a cookie that stands for the key in this browser, for as long as the key lives and some days
        at most. A session that the browser had ends.
        """
        key = services.keys.key_of(json_body(SessionRequest, most=_MOST).key.get_secret_value().strip())
        if key is None:
            wrong_key(services)
        name = cookie_name(services)
        lasts_s = services.settings.web.session_s
        token = services.keys.start_session(
            key, services.clock(), lasts_s=lasts_s, instead_of=request.cookies.get(name)
        )
        services.keys.used(key, services.clock())
        response = Response(status=204)
        response.set_cookie(
            name,
            token,
            max_age=int(lasts_s),
            path="/",
            httponly=True,
            samesite="Strict",
            secure=services.settings.web.https,
        )
        return response

    @api.get("/session")
    @api.output(SessionOut)
    def look() -> Response:
        """Whether this server asks for a key, and what the caller may do"""
        session = session_key(services) if required else None
        key = caller(services, required=False) or session
        scopes = scopes_of(key) if key is not None or not required else []
        return json_response({"required": required, "signed_in": session is not None, "scopes": scopes})

    @api.delete("/session")
    @api.output({}, status_code=204)
    def sign_out() -> Response:
        """Sign out: the session ends here and in the catalogue"""
        name = cookie_name(services)
        if token := request.cookies.get(name):
            services.keys.end_session(token)
        response = Response(status=204, headers={"Clear-Site-Data": '"cache"'})
        response.delete_cookie(name, path="/", httponly=True, samesite="Strict", secure=services.settings.web.https)
        return response

    return api
