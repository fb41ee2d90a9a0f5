"""What keeps other web sites out: host and origin checks, and security headers."""

from __future__ import annotations

from urllib.parse import urlsplit

from apiflask import APIFlask
from flask import Response, g, request

from config.settings import Settings
from core import telemetry
from core.domain.ids import new_id
from web_tier.http.network_policy import asks_for_keys
from web_tier.http.problems import Refused
from web_tier.server.client_address import Proxies, parse_address

_READS = {"GET", "HEAD", "OPTIONS"}
_HEADERS = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' blob: data:",
            "connect-src 'self'",
            "manifest-src 'self'",
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


def install(app: APIFlask, settings: Settings) -> None:
    names = settings.web.host_names | {"localhost"}
    keyed = asks_for_keys(settings)
    proxies = Proxies(settings.web.proxy_networks)
    scheme = "https" if settings.web.https else "http"
    app.before_request(_name_request)
    app.before_request(lambda: _find_client(proxies))
    app.before_request(lambda: _check_host(names, addresses=keyed))
    app.before_request(lambda: _check_origin(scheme))
    app.after_request(_add_headers)


def _name_request() -> None:
    g.request_id = new_id("req")
    telemetry.bind_here(request_id=g.request_id)


def _find_client(proxies: Proxies) -> None:
    """Set `g.client_address`, from which limits count; `request.remote_addr` may be a proxy's."""
    g.client_address = proxies.client(request.remote_addr or "", request.headers.getlist("X-Forwarded-For"))


def _check_host(names: frozenset[str], *, addresses: bool) -> None:
    """Refuse a name that is not ours: it may be another site's, pointed at this machine (DNS rebinding).

    An address in place of a name was looked up nowhere. One of this machine's loopback will always do, with
    `addresses` every one.
    """
    try:
        name = urlsplit(f"//{request.host}").hostname or ""
    except ValueError:
        name = ""
    address = parse_address(f"[{name}]" if ":" in name else name)
    if name in names or (address is not None and (addresses or address.is_loopback)):
        return
    raise Refused(403, "This server does not go by the name in this request; the setting web.hosts gives it names.")


def _check_origin(scheme: str) -> None:
    """A page of another origin may send a form here, but nothing of it is done."""
    if request.method in _READS:
        return
    site = request.headers.get("Sec-Fetch-Site", "none")
    origin = request.headers.get("Origin")
    if site not in ("same-origin", "none") or (origin is not None and origin != f"{scheme}://{request.host}"):
        raise Refused(403, "A page of another site sent this request; only Tagfleet's own page may change anything.")


def _add_headers(response: Response) -> Response:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers["X-Request-Id"] = g.get("request_id", "")
    response.call_on_close(telemetry.bind_here)  # after the last byte of a stream: the thread then serves another
    if request.path.startswith("/api/"):
        response.headers.setdefault("Cache-Control", "no-store")
    return response
