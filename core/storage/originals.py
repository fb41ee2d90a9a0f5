"""Reads the original bytes of images, from the store or from the bucket into which another program put them."""

from __future__ import annotations

from collections.abc import Callable

from core.domain.addresses import split_address
from core.domain.dropped_files import decoded_jobs, is_drop, is_same_content, job_as_read, make_image_id
from core.domain.messages import Job
from core.errors import NotFound, Unreadable
from core.storage import layout
from core.storage.ports import Admit, Blob, ObjectStore, Source


class Originals:
    """Reads the originals of one deployment.

    `source` opens the reader of buckets; it is called only when an address is read. From buckets no object larger than
    `max_bytes` is read.
    """

    def __init__(self, store: ObjectStore, source: Callable[[], Source], max_bytes: int) -> None:
        self._store = store
        self._source = source
        self._max_bytes = max_bytes

    def read(self, key: str, admit: Admit | None = None) -> Blob:
        """Read an object by its key in the store, or by its address, `s3://BUCKET/KEY` or `s3://VERSION@BUCKET/KEY`.

        `admit` is called with its size before its bytes are read. Raises NotFound, Unreadable, Unavailable, and
        ValueError for any other key.
        """
        if "://" in key:
            return self._source().read(key, self._max_bytes, admit)
        try:
            return self._store.get(key, admit)
        except NotFound:
            if (older := layout.key_before(key)) is None:
                raise
            return self._store.get(older, admit)

    def of_image(self, key: str, batch_id: str, id_: str, admit: Admit | None = None) -> Blob:
        """Read the original of an image that has been read before.

        Raises Unreadable if another file has replaced a dropped one since then, and what `read` raises.
        """
        blob = self.read(key, admit)
        if is_drop(batch_id) and "://" in key and make_image_id(*split_address(key), blob.etag) != id_:
            raise Unreadable("another file has replaced it, which is an item of its own")
        return blob

    def of_job(self, job: Job, admit: Admit | None = None) -> tuple[Job, bytes]:
        """Read a job's image. Return the job, updated to its bytes, and the bytes. Raises what `of_image` raises."""
        if job.origin is None:
            return job, self.of_image(job.key, job.batch_id, job.image_id, admit).data
        try:
            blob = self.read(job.key, admit)
        except NotFound:
            job, blob = self._read_decoded(job, admit)
        return job_as_read(job, blob.data, etag=blob.etag, version=blob.version), blob.data

    def _read_decoded(self, job: Job, admit: Admit | None) -> tuple[Job, Blob]:
        """Read the file of an event whose key was URL-encoded. Raises NotFound."""
        for other in decoded_jobs(job):
            try:
                blob = self.read(other.key, admit)
            except NotFound:
                continue
            if is_same_content(job, blob.etag):
                return other, blob
        raise NotFound(job.key)
