"""Decide who is calling and whether they may: API keys, the sessions that browsers hold in place of one, and scopes.

A route declares the scope it needs (`web_tier.http.routes`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from flask import Flask, current_app, g, request

from config.settings import Settings
from core.errors import Unavailable
from core.telemetry import logger
from web_tier.catalog.keys import SCOPES, Key, KeyCatalog
from web_tier.http.guard import READS
from web_tier.http.network_policy import asks_for_keys
from web_tier.http.problems import Refused
from web_tier.http.rate_limits import RateLimits
from web_tier.http.routes import Scope, route_of

_RECHECK_S = 5.0
_CHALLENGE = 'Bearer realm="Tagfleet"'


class Authenticator:
    """Finds the caller's key, and refuses what it may not do.

    `required` says whether this server asks for a key at all. `clock` gives Unix seconds.
    """

    def __init__(self, settings: Settings, keys: KeyCatalog, limits: RateLimits, clock: Callable[[], float]) -> None:
        self.required = asks_for_keys(settings)
        self._https = settings.web.https
        self._keys = keys
        self._limits = limits
        self._clock = clock

    def install(self, app: Flask, open_blueprints: frozenset[str]) -> None:
        """Check every request before its view runs, and put the caller's key into `g.key`.

        It is None if no key is asked for and none was given. Everybody may read `open_blueprints`.
        """

        def check() -> None:
            scope = _needed_scope(request.endpoint, open_blueprints)
            if scope == "open":
                return
            g.key = self.caller(required=self.required)
            if g.key is not None:
                self._limits.count_request(g.key.id)
                _check_scope(g.key, scope)
                with suppress(Unavailable):  # the request can be answered even if its time can't be noted
                    self._keys.record_use(g.key, self._clock())

        app.before_request(check)
        app.after_request(self._limits.add_headers)

    @property
    def cookie_name(self) -> str:
        """The session cookie's name. Its prefix, which needs TLS, keeps neighbouring hosts from setting the cookie."""
        return "__Host-tagfleet" if self._https else "tagfleet"

    def caller(self, *, required: bool) -> Key | None:
        """Return the live key in the request or behind its session; None if there is none and none is `required`.

        Raises Refused: 401, 403 if a change by session lacks proof of its origin, 429 after too many wrong keys. A key
        beside the session of another key is refused, because the two did not come from the same person.
        """
        secret = _bearer_secret()
        key = None
        if secret is not None:
            key = self._keys.find(secret)
            if key is None:
                self.refuse_wrong_key()
        if not required:
            return key  # a cookie from a time when keys were asked for changes nothing
        session = self.session_key()
        if key is not None and session is not None and key.id != session.id:
            _refuse("The session cookie of this request belongs to another key; send one of the two.")
        if key is None and session is not None:
            _check_same_origin()
        if key is None and session is None:
            _refuse("This server asks for a key: send Authorization: Bearer tf_…, or sign in on its page.")
        return key or session

    def session_key(self) -> Key | None:
        """Return the live key of the request's session."""
        token = request.cookies.get(self.cookie_name)
        return self._keys.find_by_session(token, self._clock()) if token else None

    def key_ended(self) -> Callable[[], bool]:
        """Return a check, for an answer that lasts, of whether the key or session of this request has ended.

        It asks the catalogue every few seconds at most.
        """
        if g.get("key") is None:
            return lambda: False
        secret, token = _bearer_secret(), request.cookies.get(self.cookie_name, "")
        checked_at = self._clock()

        def ended() -> bool:
            nonlocal checked_at
            now = self._clock()
            if abs(now - checked_at) < _RECHECK_S:
                return False
            checked_at = now
            key = self._keys.find(secret) if secret is not None else self._keys.find_by_session(token, now)
            return key is None

        return ended

    def refuse_wrong_key(self) -> NoReturn:
        """Refuse a key that is not in the catalogue. The answer does not say whether it ever was."""
        self._limits.count_wrong_key(g.client_address)
        logger().warning("a wrong key was sent", address=g.client_address)
        _refuse("This server does not know this key; it may have been revoked.", error="invalid_token")


def scopes_of(key: Key | None) -> list[str]:
    """Return what a caller may do: everything, if no key is asked for and none was given."""
    return list(SCOPES) if key is None else key.scopes


def _needed_scope(endpoint: str | None, open_blueprints: frozenset[str]) -> Scope:
    """Return the scope of the route. An address that leads nowhere (None) gives nothing away."""
    if endpoint is None or endpoint.partition(".")[0] in open_blueprints:
        return "open"
    route = route_of(current_app, endpoint)
    return "operate" if route is None else route.scope  # an undeclared route is closed


def _bearer_secret() -> str | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _check_same_origin() -> None:
    """Browsers send cookies by themselves, so a change needs proof that our own page asked for it (CSRF)."""
    if request.method in READS or "Origin" in request.headers:  # `guard` has refused foreign origins
        return
    if request.headers.get("Sec-Fetch-Site") != "same-origin":
        raise Refused(403, "A change by session needs the Origin header that browsers send; programs use a key.")


def _check_scope(key: Key, scope: Scope) -> None:
    if scope in key.scopes or request.method == "OPTIONS":  # it only lists methods
        return
    raise Refused(
        403,
        f"This needs a key with the scope {scope}; yours has {', '.join(key.scopes)}.",
        headers={"WWW-Authenticate": f'{_CHALLENGE}, error="insufficient_scope", scope="{scope}"'},
    )


def _refuse(detail: str, *, error: str | None = None) -> NoReturn:
    challenge = _CHALLENGE if error is None else f'{_CHALLENGE}, error="{error}"'
    raise Refused(401, detail, headers={"WWW-Authenticate": challenge})
