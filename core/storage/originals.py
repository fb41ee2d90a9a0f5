"""The bytes of an image, wherever they are: in the store, or in the bucket where somebody put them."""

from __future__ import annotations

from collections.abc import Callable

from core.domain.messages import Job
from core.domain.notifications import about, decoded, is_drop, make_image_id, same_content
from core.errors import NotFound, Unreadable
from core.storage import layout
from core.storage.addresses import split_address
from core.storage.ports import Blob, ObjectStore, Source


class Originals:
    """`source` is opened when an address is first asked for; of its objects none larger than `max_bytes` is read."""

    def __init__(self, store: ObjectStore, source: Callable[[], Source], max_bytes: int) -> None:
        self._store = store
        self._source = source
        self._max_bytes = max_bytes

    def read(self, key: str) -> Blob:
        """`key` is one of the store's, `s3://BUCKET/KEY`, or `s3://VERSION@BUCKET/KEY`.

        Raises NotFound, Unreadable, Unavailable, and ValueError for what is neither.
        """
        if "://" in key:
            return self._source().read(key, self._max_bytes)
        try:
            return self._store.get(key)
        except NotFound:
            if (older := layout.key_before(key)) is None:
                raise
            return self._store.get(older)

    def of_image(self, key: str, batch_id: str, id_: str) -> Blob:
        """Read the original of an image that was read before.

        Raises Unreadable where a dropped file was replaced meanwhile, and what `read` raises.
        """
        blob = self.read(key)
        if is_drop(batch_id) and "://" in key and make_image_id(*split_address(key), blob.etag) != id_:
            raise Unreadable("another file lies in its place by now, which is an item of its own")
        return blob

    def of_job(self, job: Job) -> tuple[Job, bytes]:
        """Read what a job is about; the job comes back as one about what was read. Raises what `of_image` raises."""
        if job.origin is None:
            return job, self.of_image(job.key, job.batch_id, job.image_id).data
        try:
            blob = self.read(job.key)
        except NotFound:
            job, blob = self._elsewhere(job)
        return about(job, blob), blob.data

    def _elsewhere(self, job: Job) -> tuple[Job, Blob]:
        """Where the file is if the event's key was encoded. Raises NotFound."""
        for other in decoded(job):
            try:
                blob = self.read(other.key)
            except NotFound:
                continue
            if same_content(job, blob):
                return other, blob
        raise NotFound(job.key)
