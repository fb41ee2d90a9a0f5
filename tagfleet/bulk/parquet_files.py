"""Results as Parquet: one file for each portion, one row for each object."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.domain.messages import Result, Tag
from core.storage import layout
from core.storage.ports import ObjectStore
from core.util.atomic import atomic_write


def as_parquet(uris: Sequence[str], results: Sequence[Result]) -> bytes:
    """Return a file with the columns uri, tags, caption, error, tagger, timings_ms. `results` are in the order of
    `uris`.
    """
    import pyarrow as pa  # takes half a second and 150 MB, and only this function needs it
    from pyarrow import parquet

    timings = pa.struct([(name, pa.float32()) for name in ("queue", "fetch", "decode", "infer")])
    boxes = pa.list_(pa.list_(pa.float32()))
    tags = pa.list_(pa.struct([("name", pa.string()), ("confidence", pa.float32()), ("boxes", boxes)]))
    table = pa.table(
        {
            "uri": pa.array(uris, pa.string()),
            "tags": pa.array([[_tag(tag) for tag in result.tags] for result in results], tags),
            "caption": pa.array([result.caption for result in results], pa.string()),
            "error": pa.array([result.error for result in results], pa.string()),
            "tagger": pa.array([result.tagger for result in results], pa.string()),
            "timings_ms": pa.array([result.timings_ms.model_dump() for result in results], timings),
        }
    )
    out = io.BytesIO()
    parquet.write_table(table, out, compression="zstd")
    return out.getvalue()


def _tag(tag: Tag) -> dict[str, Any]:
    return {"name": tag.name, "confidence": tag.confidence, "boxes": [one.box for one in tag.instances]}


def save_results(store: ObjectStore, run_id: str, number: int, data: bytes, folder: Path | None) -> None:
    """Write a portion's file into `folder`, or under `exports/` in the store. Repeating replaces it.

    Raises Unavailable, OSError.
    """
    if folder is None:
        store.put(layout.part_key(run_id, number), data, content_type="application/vnd.apache.parquet")
        return
    atomic_write(folder / layout.part_name(number), data, sole_writer=True, make_parents=True)
