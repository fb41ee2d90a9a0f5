"""What the store says of an image: the result that some worker stored for it."""

from __future__ import annotations

from core.domain.messages import Job, Result, decode_result
from core.errors import BadMessage, NotFound
from core.storage import layout
from core.storage.ports import ObjectStore


def stored_for(job: Job, store: ObjectStore) -> Result | None:
    """The result of this image if a worker stored it; that of an earlier attempt is none.

    Nor is one of no worker: the failure of a job that was a dead letter and is tried again. Raises Unavailable.
    """
    try:
        result = decode_result(store.get(layout.result_key(job.batch_id, job.image_id)).data)
    except (NotFound, BadMessage):
        return None
    return result if result.worker and result.attempt >= job.attempt else None
