"""Catalogue queries for dropped files: they enter with their results, into one batch per folder."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from core.domain.addresses import split_address
from core.domain.messages import Origin
from core.errors import Unavailable
from core.util.file_names import same_name
from web_tier.catalog import changes, tag_counts
from web_tier.catalog.batch_options import BatchOptions
from web_tier.catalog.batches import Catalog, Upload
from web_tier.catalog.database import AnyRow
from web_tier.catalog.results import ImageOutcome
from web_tier.catalog.tables import batches, images
from web_tier.catalog.uploads import insert_images
from web_tier.catalog.visibility import not_deleted


class DropCatalog(Catalog):
    """Adds images that nobody uploaded."""

    def adopt(self, outcomes: Sequence[ImageOutcome], pool: str, now: float) -> list[ImageOutcome]:
        """Add images for dropped files that the catalogue does not know, so that their results can be recorded.

        Returns the outcomes of files that were dropped before their batch was deleted; they get no image. A file whose
        name and content the batch has already gets none either: it was dropped twice. Raises Unavailable while a
        deleted batch that would start anew still has images.
        """
        late: list[ImageOutcome] = []
        by_batch: dict[str, list[tuple[ImageOutcome, Origin]]] = defaultdict(list)
        for outcome in outcomes:
            if outcome.origin is not None:
                by_batch[outcome.batch_id].append((outcome, outcome.origin))
        for batch_id in sorted(by_batch):
            found = by_batch[batch_id]
            self._ensure(batch_id, found[0][1].folder, pool, now)
            with self._database.writing() as connection:
                late += _adopt(connection, batch_id, found, now)
        return late

    def _ensure(self, batch_id: str, folder: str, pool: str, now: float) -> None:
        """Insert the batch unless it exists, deleted or not. It is closed, so that no upload goes into it."""
        with self._database.reading() as connection:
            if connection.execute(select(batches.c.id).where(batches.c.id == batch_id)).one_or_none():
                return
        values = _new_batch(folder, now) | {
            "id": batch_id,
            "pool": pool,
            "options": BatchOptions().asked(),
            "payload_hash": "",
            "change": 0,
        }
        try:
            with self._database.writing() as connection:
                connection.execute(insert(batches), values)
        except IntegrityError:
            return  # another collector was faster


def _adopt(
    connection: Connection, batch_id: str, found: Sequence[tuple[ImageOutcome, Origin]], now: float
) -> list[ImageOutcome]:
    """Return the outcomes of files dropped before the batch was deleted, even if it has started anew since."""
    batch = connection.execute(select(batches).where(batches.c.id == batch_id).with_for_update()).one()
    emptied_at = batch.emptied_at if batch.deleted_at is None else batch.deleted_at
    wanted = [(outcome, origin) for outcome, origin in found if emptied_at is None or origin.dropped_at > emptied_at]
    late = [outcome for outcome, origin in found if emptied_at is not None and origin.dropped_at <= emptied_at]
    late = _without_visible(connection, late)
    if batch.deleted_at is not None and batch.cleared_at is None and wanted:
        raise Unavailable(f"batch {batch_id} cannot start anew yet: its deleted images are still being removed")
    fresh = _without_known(connection, batch_id, wanted)
    if not fresh:
        return late
    if batch.deleted_at is not None:
        _start_anew(connection, batch, fresh[0][1].folder, now)
    uploads = [
        Upload(outcome.image_id, outcome.name, origin.sha256, origin.bytes, origin=origin.uri)
        for outcome, origin in fresh
    ]
    insert_images(connection, batch_id, 0 if batch.deleted_at is not None else batch.total, uploads, now)
    return late


def _without_visible(connection: Connection, outcomes: Sequence[ImageOutcome]) -> list[ImageOutcome]:
    """Leave out outcomes of visible images: a file dropped again may have the id of an earlier one."""
    ids = [outcome.image_id for outcome in outcomes]
    there = set(connection.execute(select(images.c.id).where(images.c.id.in_(ids), not_deleted())).scalars())
    return [outcome for outcome in outcomes if outcome.image_id not in there]


def _without_known(
    connection: Connection, batch_id: str, found: Sequence[tuple[ImageOutcome, Origin]]
) -> list[tuple[ImageOutcome, Origin]]:
    """Leave out images that the catalogue has, by id or by name and content."""
    ids = [outcome.image_id for outcome, _ in found]
    known = set(connection.execute(select(images.c.id).where(images.c.id.in_(ids))).scalars())
    hashes = {origin.sha256 for _, origin in found}
    query = select(images.c.sha256, images.c.name).where(images.c.batch_id == batch_id, images.c.sha256.in_(hashes))
    there = {(sha256, same_name(name)) for sha256, name in connection.execute(query)}
    fresh = []
    for outcome, origin in found:
        content = origin.sha256, same_name(outcome.name)
        if outcome.image_id not in known and content not in there:
            known.add(outcome.image_id)
            there.add(content)
            fresh.append((outcome, origin))
    return fresh


def _start_anew(connection: Connection, batch: AnyRow, folder: str, now: float) -> None:
    """Bring a deleted batch back, without its old images, for files dropped since."""
    values = _new_batch(folder, now) | {
        "emptied_at": batch.deleted_at,
        "removed": 0,
        **dict.fromkeys(("deleted_at", "cleared_at", "purged_at")),
    }
    connection.execute(update(batches).where(batches.c.id == batch.id).values(values))
    tag_counts.subtract_batch(connection, batch.id)  # an earlier version deletes a batch without that


def _new_batch(folder: str, now: float) -> dict[str, Any]:
    """Return the columns of an empty, closed batch. The page shows `title` as its name."""
    bucket, key = split_address(folder)
    title = key.rstrip("/").rpartition("/")[2] or bucket
    metadata = {"title": title, "source": folder}
    return {"created_at": now, "changed_at": now, "closed_at": now, "metadata": metadata, **changes.EMPTY}
