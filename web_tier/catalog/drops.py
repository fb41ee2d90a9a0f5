"""The catalogue as dropped files enter it: with their results, into one batch for each folder."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from core.domain.addresses import split_address
from core.domain.messages import Origin
from core.errors import Unavailable
from core.util.file_names import same_name
from web_tier.catalog.batch_options import BatchOptions
from web_tier.catalog.batches import AnyRow, Catalog, Upload
from web_tier.catalog.results import Outcome
from web_tier.catalog.tables import batches, images
from web_tier.catalog.uploads import insert_images
from web_tier.catalog.visibility import not_deleted


class DropCatalog(Catalog):
    """What nobody uploaded and is shown all the same, in the same manner."""

    def adopt(self, outcomes: Sequence[Outcome], pool: str, now: float) -> list[Outcome]:
        """Make images for dropped files that the catalogue does not know, so that their results can be recorded.

        Left out are those that were dropped before their batch was deleted, which are returned, and those whose name
        and content are there already: a file that was put once more. Raises Unavailable while a deleted batch that
        would begin anew still holds images.
        """
        late: list[Outcome] = []
        by_batch: dict[str, list[tuple[Outcome, Origin]]] = defaultdict(list)
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
        """The batch is there, deleted or not. It is closed: no upload goes into it."""
        with self._database.reading() as connection:
            if connection.execute(select(batches.c.id).where(batches.c.id == batch_id)).one_or_none():
                return
        values = _begun(now) | {
            "id": batch_id,
            "pool": pool,
            "options": BatchOptions().asked(),
            "metadata": _described(folder),
            "payload_hash": "",
            "change": 0,
        }
        try:
            with self._database.writing() as connection:
                connection.execute(insert(batches), values)
        except IntegrityError:
            return  # another collector was faster


def _adopt(connection: Connection, batch_id: str, found: Sequence[tuple[Outcome, Origin]], now: float) -> list[Outcome]:
    """Those that were dropped before the batch was deleted, be it that it began anew since."""
    batch = connection.execute(select(batches).where(batches.c.id == batch_id).with_for_update()).one()
    emptied_at = batch.emptied_at if batch.deleted_at is None else batch.deleted_at
    wanted = [(outcome, origin) for outcome, origin in found if emptied_at is None or origin.dropped_at > emptied_at]
    late = [outcome for outcome, origin in found if emptied_at is not None and origin.dropped_at <= emptied_at]
    late = _not_there(connection, late)
    if batch.deleted_at is not None and batch.cleared_at is None and wanted:
        raise Unavailable(f"batch {batch_id}: what it held is still being removed, and it cannot begin anew yet")
    fresh = _unknown(connection, batch_id, wanted)
    if not fresh:
        return late
    _open_again(connection, batch, fresh[0][1].folder, now)
    uploads = [
        Upload(outcome.image_id, outcome.name, origin.sha256, origin.bytes, origin=origin.uri)
        for outcome, origin in fresh
    ]
    insert_images(connection, batch_id, uploads, now)
    return late


def _not_there(connection: Connection, outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Those whose image readers cannot see: a file dropped again may have the id of an earlier one."""
    ids = [outcome.image_id for outcome in outcomes]
    there = set(connection.execute(select(images.c.id).where(images.c.id.in_(ids), not_deleted())).scalars())
    return [outcome for outcome in outcomes if outcome.image_id not in there]


def _unknown(
    connection: Connection, batch_id: str, found: Sequence[tuple[Outcome, Origin]]
) -> list[tuple[Outcome, Origin]]:
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


def _open_again(connection: Connection, batch: AnyRow, folder: str, now: float) -> None:
    """Images come into it once more. A batch that was deleted begins anew, with what was dropped since."""
    values: dict[str, object] = {"completed_at": None}
    if batch.deleted_at is not None:
        values = _begun(now) | {
            "metadata": _described(folder),
            "emptied_at": batch.deleted_at,
            "removed": 0,
            **dict.fromkeys(("deleted_at", "cleared_at", "purged_at")),
        }
    connection.execute(update(batches).where(batches.c.id == batch.id).values(values))


def _begun(now: float) -> dict[str, object]:
    return {
        "created_at": now,
        "changed_at": now,
        "closed_at": now,
        "completed_at": None,
        "total": 0,
        "completed": 0,
        "failed": 0,
        "cancelled": 0,
    }


def _described(folder: str) -> dict[str, str]:
    """`title` is what the page calls it."""
    bucket, key = split_address(folder)
    return {"title": key.rstrip("/").rpartition("/")[2] or bucket, "source": folder}
