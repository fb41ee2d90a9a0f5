"""What keeps other web sites out of a server that asks for no key: host and origin checks, and security headers."""

from __future__ import annotations

from urllib.parse import urlsplit

from apiflask import APIFlask
from flask import Response, g, request

from core.ids import new_id
from web_tier.problems import Refused

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_READS = {"GET", "HEAD", "OPTIONS"}
_HEADERS = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' blob: data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def install(app: APIFlask) -> None:
    app.before_request(_name_request)
    app.before_request(_check_host)
    app.before_request(_check_origin)
    app.after_request(_add_headers)


def _name_request() -> None:
    g.request_id = new_id("req")


def _check_host() -> None:
    """A name that is not ours may be another site's, pointed at this machine (DNS rebinding)."""
    try:
        name = urlsplit(f"//{request.host}").hostname
    except ValueError:
        name = None
    if name not in _LOOPBACK:
        raise Refused(403, "This server answers only under localhost, 127.0.0.1 and [::1].")


def _check_origin() -> None:
    """A page of another origin may send a form here, but nothing of it is done."""
    if request.method in _READS:
        return
    site = request.headers.get("Sec-Fetch-Site", "none")
    origin = request.headers.get("Origin")
    if site not in ("same-origin", "none") or (origin is not None and origin != request.host_url.rstrip("/")):
        raise Refused(403, "A page of another site sent this request; only Tagfleet's own page may change anything.")


def _add_headers(response: Response) -> Response:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers["X-Request-Id"] = g.get("request_id", "")
    if request.path.startswith("/api/"):
        response.headers.setdefault("Cache-Control", "no-store")
    return response
