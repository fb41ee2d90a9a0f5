"""The route that exports a batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from flask import Blueprint, Response

from web_tier.api.exports.coco import as_coco
from web_tier.api.exports.file_names import attachment
from web_tier.api.exports.rows import as_csv, as_json_lines
from web_tier.api.exports.sidecars import as_sidecars
from web_tier.api.exports.sizes import with_originals
from web_tier.api.exports.source import Source
from web_tier.api.schemas.batches import ExportQuery
from web_tier.http.routes import Answer, Resource
from web_tier.services.container import Services


@dataclass(frozen=True, slots=True)
class _Format:
    extension: str
    mimetype: str
    type: str = "string"


_FORMATS = {
    "csv": _Format(".csv", "text/csv"),
    "jsonl": _Format(".jsonl", "application/x-ndjson"),
    "coco": _Format(".coco.json", "application/json", "object"),
    "xmp": _Format(".xmp.zip", "application/zip"),
}


def blueprint(services: Services) -> Blueprint:
    exports = Resource("exports", tag="batches")

    @exports.route(
        "GET /batches/<batch_id>/export",
        scope="read",
        query=ExportQuery,
        answer=Answer(
            {format.mimetype: {"schema": {"type": format.type}} for format in _FORMATS.values()},
            description="The file; if the connection ends early, the file is incomplete",
        ),
        errors={404: "There is no such batch"},
    )
    def export_batch(batch_id: str, query: ExportQuery) -> Response:
        """Export the results of a batch as they are now

        csv: a row for each tag, for spreadsheets. It begins with a byte-order mark, and text that a spreadsheet would
        run as a formula has an apostrophe before it; `plain` leaves both out, for programs. jsonl: a line for each
        image. coco: COCO JSON with boxes in pixels, ready for pycocotools; the box of a tag without boxes is the whole
        picture. xmp: a zip file of XMP sidecars with the tags as keywords. The file is named after the `title` in the
        batch's metadata.
        """
        batch = services.catalog.batch(batch_id)
        chosen = _FORMATS[query.format]
        written = _write(services, Source(services.catalog, batch.id), query)
        response = Response(written, mimetype=chosen.mimetype)
        response.headers["Content-Disposition"] = attachment(batch.metadata.get("title"), batch.id, chosen.extension)
        return response

    return exports.blueprint


def _write(services: Services, source: Source, query: ExportQuery) -> Iterator[bytes]:
    match query.format:
        case "csv":
            return as_csv(source, plain=query.plain)
        case "jsonl":
            return as_json_lines(source)
        case "coco":
            return as_coco(source, with_originals(services.backend.originals))
        case "xmp":
            return as_sidecars(source)
