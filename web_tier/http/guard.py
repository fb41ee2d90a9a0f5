"""Keep other web sites out: check host and origin, and send security headers."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Flask, Response, g, request

from config.settings import Settings
from core import telemetry
from core.domain.ids import new_id
from web_tier.http.network_policy import asks_for_keys
from web_tier.http.problems import Refused
from web_tier.server.client_address import Proxies, parse_address

READS = frozenset({"GET", "HEAD", "OPTIONS"})
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


def install(app: Flask, settings: Settings) -> None:
    """Check every request of `app` before anything else does, and add the headers to every answer."""
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
    """Refuse a host name that is not ours: another site's name may point at this machine (DNS rebinding).

    An address was not looked up, so it can't be rebound. Loopback addresses always pass, with `addresses` all do.
    """
    try:
        name = urlsplit(f"//{request.host}").hostname or ""
    except ValueError:
        name = ""
    address = parse_address(f"[{name}]" if ":" in name else name)
    if name in names or (address is not None and (addresses or address.is_loopback)):
        return
    raise Refused(403, "This server does not answer to this name; an operator can add it with web.hosts.")


def _check_origin(scheme: str) -> None:
    """Refuse changes that a page of another origin asks for."""
    if request.method in READS:
        return
    site = request.headers.get("Sec-Fetch-Site", "none")
    origin = request.headers.get("Origin")
    if site not in ("same-origin", "none") or (origin is not None and origin != f"{scheme}://{request.host}"):
        raise Refused(403, "A page of another site sent this request; only Tagfleet's own page may change anything.")


def _add_headers(response: Response) -> Response:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers["X-Request-Id"] = g.get("request_id", "")
    response.call_on_close(telemetry.bind_here)  # after a stream's last byte, as its thread serves others then
    if request.path.startswith("/api/"):
        response.headers.setdefault("Cache-Control", "no-store")
    return response
