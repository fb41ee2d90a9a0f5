"""Who asks, and whether they may: keys, the sessions in their place, and their scopes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from apiflask import APIFlask
from flask import g, request

from core.errors import Unavailable
from core.telemetry import logger
from web_tier.catalog.keys import SCOPES, Key
from web_tier.http.network_policy import asks_for_keys
from web_tier.http.problems import Refused
from web_tier.services.container import Services

READS = frozenset({"GET", "HEAD", "OPTIONS"})

_OPEN = ("pages", "docs", "openapi", "health.healthz", "api.sessions")
"""Endpoints, and blueprints of them, that need no key: what anyone may read in our source, and the way to sign in."""
_OPERATORS = ("/api/v1/keys", "/api/v1/webhooks", "/api/v1/fleet/dead-letters")
_FOR_OPERATORS_TO_CHANGE = ("/api/v1/fleet/", "/api/v1/models/")
_LOOK_S = 5.0
_CHALLENGE = 'Bearer realm="Tagfleet"'


def install(app: APIFlask, services: Services) -> None:
    """Refuse what the caller may not do; who it is stays in `g.key`, None where no key is asked for or given."""
    required = asks_for_keys(services.settings)

    def check() -> None:
        if is_open(request.endpoint):
            return
        g.key = caller(services, required=required)
        if g.key is not None:
            services.rate_limits.request(g.key.id)
            _check_scope(g.key)
            with suppress(Unavailable):  # what cannot be noted down can still be answered
                services.keys.used(g.key, services.clock())

    app.before_request(check)
    app.after_request(services.rate_limits.say)


def is_open(endpoint: str | None) -> bool:
    """Whether an endpoint needs no key. An address that leads nowhere (None) gives nothing away."""
    return endpoint is None or any(endpoint == name or endpoint.startswith(f"{name}.") for name in _OPEN)


def scope_of(method: str, rule: str) -> str:
    """The scope that a request of this method to this route needs."""
    reads = method in READS
    if rule.startswith(_OPERATORS) or (rule.startswith(_FOR_OPERATORS_TO_CHANGE) and not reads):
        return "operate"
    return "read" if reads else "write"


def scopes_of(key: Key | None) -> list[str]:
    """What a caller may do; without a key, where none is asked for, everything."""
    return list(SCOPES) if key is None else key.scopes


def cookie_name(services: Services) -> str:
    """By the prefix browsers see to it that no neighbouring host sets this cookie; it needs TLS."""
    return "__Host-tagfleet" if services.settings.web.https else "tagfleet"


def caller(services: Services, *, required: bool) -> Key | None:
    """The live key in the request or behind its session; None where there is none and none is `required`.

    Raises Refused (401, or 429 for too many wrong keys). A key beside the session of another one is refused: whoever
    holds the two did not get both from the same person.
    """
    given = _bearer()
    key = None
    if given is not None:
        key = services.keys.key_of(given)
        if key is None:
            wrong_key(services)
    if not required:
        return key  # a cookie left over from other days changes nothing where everything is allowed
    session = session_key(services)
    if key is not None and session is not None and key.id != session.id:
        _refuse("The session cookie of this request belongs to another key; send one of the two.")
    if key is None and session is not None:
        _check_same_origin()
    if key is None and session is None:
        _refuse("This server asks for a key: send Authorization: Bearer tf_…, or sign in on its page.")
    return key or session


def session_key(services: Services) -> Key | None:
    """The live key of the request's session."""
    token = request.cookies.get(cookie_name(services))
    return services.keys.key_of_session(token, services.clock()) if token else None


def lapse_of(services: Services) -> Callable[[], bool]:
    """Tells an answer that lasts whether the key or session it was given for has ended; looks every few seconds."""
    if g.get("key") is None:
        return lambda: False
    secret, token = _bearer(), request.cookies.get(cookie_name(services), "")
    looked = services.clock()

    def lapsed() -> bool:
        nonlocal looked
        now = services.clock()
        if abs(now - looked) < _LOOK_S:
            return False
        looked = now
        return (
            services.keys.key_of(secret) if secret is not None else services.keys.key_of_session(token, now)
        ) is None

    return lapsed


def wrong_key(services: Services) -> NoReturn:
    """Refuse a key that is none; the answer does not say whether it ever was one."""
    services.rate_limits.guess(g.client_address)
    logger().warning("a wrong key was sent", address=g.client_address)
    _refuse("This key is not known here; it may have been revoked.", error="invalid_token")


def _bearer() -> str | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _check_same_origin() -> None:
    """Browsers send cookies by themselves, so a change needs proof that our own page asked for it (CSRF)."""
    if request.method in READS or "Origin" in request.headers:  # an Origin that is not ours was refused before
        return
    if request.headers.get("Sec-Fetch-Site") != "same-origin":
        raise Refused(403, "A change by session needs the Origin header that browsers send; programs use a key.")


def _check_scope(key: Key) -> None:
    needed = scope_of(request.method, request.url_rule.rule if request.url_rule else request.path)
    if needed not in key.scopes:
        raise Refused(
            403,
            f"This needs a key with the scope {needed}; yours has {', '.join(key.scopes)}.",
            headers={"WWW-Authenticate": f'{_CHALLENGE}, error="insufficient_scope", scope="{needed}"'},
        )


def _refuse(detail: str, *, error: str | None = None) -> NoReturn:
    challenge = _CHALLENGE if error is None else f'{_CHALLENGE}, error="{error}"'
    raise Refused(401, detail, headers={"WWW-Authenticate": challenge})
