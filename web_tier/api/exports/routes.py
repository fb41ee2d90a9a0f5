"""The route that exports a batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response

from web_tier.api.exports.coco import as_coco
from web_tier.api.exports.file_names import attachment
from web_tier.api.exports.rows import COLUMNS, as_csv, as_json_lines
from web_tier.api.exports.sidecars import as_sidecars
from web_tier.api.exports.sizes import with_originals
from web_tier.api.exports.source import Source
from web_tier.api.schemas import example_of
from web_tier.api.schemas.batches import ExportQuery, ItemOut
from web_tier.http.responses import encode_json
from web_tier.http.routes import Answer, Resource
from web_tier.services.container import Services


@dataclass(frozen=True, slots=True)
class _Format:
    extension: str
    mimetype: str
    description: dict[str, Any]
    """OpenAPI's media type object."""


_COCO = {
    "info": {"description": "Tagfleet, batch bat_01mcc5rm009ndjwtegjtmx"},
    "licenses": [],
    "images": [
        {"id": 1, "file_name": "b.jpg", "width": 640, "height": 480, "tagfleet_id": "img_01mcc5rm00h8zqk4w2v6na"}
    ],
    "annotations": [
        {
            "id": 1,
            "image_id": 1,
            "category_id": 1,
            "source": "model",
            "score": 0.93,
            "relative_bbox": [0.1, 0.2, 0.4, 0.5],
            "bbox": [64.0, 96.0, 256.0, 240.0],
            "area": 61440.0,
            "segmentation": [[64.0, 96.0, 320.0, 96.0, 320.0, 336.0, 64.0, 336.0]],
            "iscrowd": 0,
        }
    ],
    "categories": [{"id": 1, "name": "golden retriever", "supercategory": "tag"}],
}
_CSV_ROW = "img_01mcc5rm00h8zqk4w2v6na,b.jpg,9f86d081…,81920,succeeded,,,resnet50@1dd8f080,golden retriever,0.93,model"
_TEXT = {"type": "string"}
_FORMATS = {
    "csv": _Format(".csv", "text/csv", {"schema": _TEXT, "example": f"{','.join(COLUMNS)}\n{_CSV_ROW}\n"}),
    "jsonl": _Format(
        ".jsonl",
        "application/x-ndjson",
        {"schema": _TEXT, "example": encode_json(example_of(ItemOut)).decode() + "\n"},
    ),
    "coco": _Format(".coco.json", "application/json", {"schema": {"type": "object"}, "example": _COCO}),
    "xmp": _Format(".xmp.zip", "application/zip", {"schema": _TEXT}),
}


def blueprint(services: Services) -> Blueprint:
    exports = Resource("exports", tag="batches")

    @exports.route(
        "GET /batches/<batch_id>/export",
        scope="read",
        query=ExportQuery,
        answer=Answer(
            {format.mimetype: format.description for format in _FORMATS.values()},
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
        batch = services.catalog.get_batch(batch_id)
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
