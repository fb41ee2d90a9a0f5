"""Reads the result that a worker stored for an image."""

from __future__ import annotations

from core.domain.messages import Job, Result, decode_result
from core.errors import BadMessage, NotFound
from core.storage import layout
from core.storage.ports import ObjectStore


def load_result(job: Job, store: ObjectStore) -> Result | None:
    """Return the result that a worker stored for this attempt of the job, or a later one; None if there is none.

    A result without a worker does not count: it reports a dead letter, whose job is now tried again. Raises
    Unavailable.
    """
    try:
        result = decode_result(store.get(layout.result_key(job.batch_id, job.image_id)).data)
    except (NotFound, BadMessage):
        return None
    return result if result.worker and result.attempt >= job.attempt else None
