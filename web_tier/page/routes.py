"""Serve the page: one document for all views. Its scripts choose the view by the URL, and fill it from the API."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flask import Blueprint, Response, current_app, jsonify, redirect, render_template, url_for
from werkzeug.wrappers import Response as AnyResponse

from core.imaging.extensions import EXTENSIONS

_SPELLING = {"WEBP": "WebP", "HEIF": "HEIC"}
FORMATS = tuple(_SPELLING.get(format, format) for format in EXTENSIONS if format != "DIB")
"""The formats that the decoder reads, as the page names them. A DIB is a BMP without its header."""

_STATIC = Path(__file__).with_name("static")
_OF_FLEET = {"capform.js", "changes.js", "fleet.js", "plot.js", "plots.js", "registry.js", "workers.js"}
_LATER = {"batches.js", "keys.js", "types.js"} | _OF_FLEET
"""Scripts that the first view does not need."""
_ICONS = (("192", "any"), ("512", "any"), ("maskable", "maskable"))

pages = Blueprint("pages", __name__, template_folder="templates", static_folder="static", static_url_path="/assets")
"""Needs `MAX_IMAGE_MB`, which the page shows, and `MAX_REQUEST_MB`, which it never exceeds, in the app's config."""


@pages.get("/")
@pages.get("/batches")
@pages.get("/fleet")
@pages.get("/keys")
def shell() -> str:
    """Serve the page for each of its views."""
    return _document("Tagfleet")


@pages.get("/batches/<batch_id>")
def batch(batch_id: str) -> str:
    """Serve the page for any id; its script finds out whether the batch exists."""
    return _document("Batch – Tagfleet")


@pages.get("/manifest.webmanifest")
def manifest() -> Response:
    """Describe the page to a phone or desktop that installs it, or shares photos with it."""
    icons = [
        {
            "src": url_for("pages.static", filename=f"icons/{name}.png"),
            "sizes": "192x192" if name == "192" else "512x512",
            "type": "image/png",
            "purpose": purpose,
        }
        for name, purpose in _ICONS
    ]
    described: dict[str, Any] = {
        "name": "Tagfleet",
        "short_name": "Tagfleet",
        "description": "Drop photos, get tags.",
        "id": "/",
        "start_url": "/",
        "scope": "/",
        "display": "standalone",
        "background_color": "#f6f6f4",
        "theme_color": "#3f5bd8",
        "icons": icons,
        "share_target": {
            "action": "/share",
            "method": "POST",
            "enctype": "multipart/form-data",
            "params": {"files": [{"name": "files", "accept": ["image/*", ".heic", ".heif"]}]},
        },
    }
    response = jsonify(described)
    response.mimetype = "application/manifest+json"
    return response


@pages.get("/service-worker.js")
def service_worker() -> Response:
    """Serve the service worker from the root: it controls only paths below its own."""
    assets = [url_for("pages.static", filename=path) for path in _assets()]
    response = Response(render_template("service-worker.js", assets=assets), mimetype="text/javascript")
    response.headers["Cache-Control"] = "no-cache"
    return response


@pages.post("/share")
def share() -> AnyResponse:
    """Answer a share that no service worker took. Normally the service worker has the page upload the photos.

    Nothing is stored, and the page explains how to continue.
    """
    return redirect("/?shared=lost", 303)


def _assets() -> list[str]:
    kinds = {".js", ".css", ".svg", ".png"}
    return sorted(str(path.relative_to(_STATIC)) for path in _STATIC.rglob("*") if path.suffix in kinds)


def _document(title: str) -> str:
    return render_template(
        "page.html",
        title=title,
        formats=FORMATS,
        max_image_mb=current_app.config["MAX_IMAGE_MB"],
        max_request_mb=current_app.config["MAX_REQUEST_MB"],
        modules=sorted(path.name for path in (_STATIC / "js").glob("*.js") if path.name not in _LATER),
    )
