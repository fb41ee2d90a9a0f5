"""The route by which a batch is exported."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from apiflask import APIBlueprint
from flask import Response
from pydantic import BaseModel

from web_tier.api.exports.coco import as_coco
from web_tier.api.exports.file_names import attachment
from web_tier.api.exports.rows import as_csv, as_json_lines
from web_tier.api.exports.sidecars import as_sidecars
from web_tier.api.exports.sizes import with_originals
from web_tier.api.exports.source import Source
from web_tier.services.container import Services


class ExportQuery(BaseModel):
    format: Literal["csv", "jsonl", "coco", "xmp"]
    plain: bool = False


@dataclass(frozen=True, slots=True)
class _Format:
    ending: str
    mimetype: str


_FORMATS = {
    "csv": _Format(".csv", "text/csv"),
    "jsonl": _Format(".jsonl", "application/x-ndjson"),
    "coco": _Format(".coco.json", "application/json"),
    "xmp": _Format(".xmp.zip", "application/zip"),
}
_RESPONSES: Any = {
    200: {
        "description": "The file; a connection that ends early is a file that is not whole",
        "content": {
            of.mimetype: {"schema": {"type": "object" if of.mimetype == "application/json" else "string"}}
            for of in _FORMATS.values()
        },
    },
    404: "There is no such batch",
}


def blueprint(services: Services) -> APIBlueprint:
    api = APIBlueprint("exports", __name__, tag="batches")

    @api.get("/batches/<batch_id>/export")
    @api.input(ExportQuery, location="query")
    @api.doc(responses=_RESPONSES)
    def export_batch(batch_id: str, query_data: ExportQuery) -> Response:
        """Export the results of a batch, as they are now

        csv: a row for each tag, for spreadsheets: it begins with a byte-order mark, and text that a spreadsheet would
        run has an apostrophe before it; with `plain` it has neither, for programs. jsonl: a line for each image. coco:
        COCO JSON with boxes in pixels, ready for pycocotools; a tag without boxes has the whole picture as its box.
        xmp: a zip file of XMP sidecars with the tags as keywords. The file is called as the `title` in the batch's
        metadata.
        """
        batch = services.catalog.batch(batch_id)
        chosen = _FORMATS[query_data.format]
        written = _written(services, Source(services.catalog, batch.id), query_data)
        response = Response(written, mimetype=chosen.mimetype)
        response.headers["Content-Disposition"] = attachment(batch.metadata.get("title"), batch.id, chosen.ending)
        return response

    return api


def _written(services: Services, source: Source, wanted: ExportQuery) -> Iterator[bytes]:
    match wanted.format:
        case "csv":
            return as_csv(source, plain=wanted.plain)
        case "jsonl":
            return as_json_lines(source)
        case "coco":
            return as_coco(source, with_originals(services.backend.originals))
        case "xmp":
            return as_sidecars(source)
