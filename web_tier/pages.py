"""The page: one document for all views. Scripts fill it from the REST API and decide the view from the address."""

from __future__ import annotations

from pathlib import Path

from flask import Blueprint, current_app, render_template

FORMATS = ("JPEG", "PNG", "WebP", "GIF", "BMP", "TIFF", "HEIC", "AVIF")

_STATIC = Path(__file__).with_name("static")

pages = Blueprint("pages", __name__, template_folder="templates", static_folder="static", static_url_path="/assets")
"""Needs `MAX_IMAGE_MB` (the page says so) and `MAX_REQUEST_MB` (it never sends more) in the app's config."""


@pages.get("/")
@pages.get("/fleet")
def shell() -> str:
    return _document("Tagfleet")


@pages.get("/batches/<batch_id>")
def batch(batch_id: str) -> str:
    """Whether there is such a batch is found by the script, which says so in the page."""
    return _document("Batch – Tagfleet")


def _document(title: str) -> str:
    return render_template(
        "page.html",
        title=title,
        formats=FORMATS,
        max_image_mb=current_app.config["MAX_IMAGE_MB"],
        max_request_mb=current_app.config["MAX_REQUEST_MB"],
        modules=sorted(path.name for path in (_STATIC / "js").glob("*.js") if path.name != "types.js"),
    )
