"""Take images into a batch: into the store, then into the catalogue, then onto the queue.

An image is accepted once the catalogue has its row. If its job cannot be sent then, the collector's sweep sends it.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress

from core.domain.ids import new_id
from core.errors import NotFound, Unavailable
from core.storage import layout
from core.storage.ports import ObjectStore
from core.telemetry import logger
from core.util.file_names import same_name
from web_tier.catalog.batches import Batch, BatchClosed, Image, NoSuchBatch, Upload
from web_tier.catalog.uploads import UploadCatalog
from web_tier.http.multipart import Part, clean_name
from web_tier.services.dispatch import Dispatch

FIELD = "files"
_GROUP = 100
_IN_MEMORY = 1 << 20
_TOGETHER = 2 << 20
"""Bytes of small files that a request holds at most, to store them together."""
_IN_A_SENTENCE = 120


class Ingest:
    """Accepts images. `max_image_bytes` limits one file; `clock` returns Unix seconds."""

    def __init__(
        self,
        store: ObjectStore,
        catalog: UploadCatalog,
        dispatch: Dispatch,
        *,
        max_image_bytes: int,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._dispatch = dispatch
        self._max_image_bytes = max_image_bytes
        self._clock = clock

    def take(self, batch: Batch, incoming: Iterable[Part]) -> Iterator[Image]:
        """Yield the image of each form part named `files`, in their order; a refused file is a failed image.

        Images are accepted in groups, each group before it is yielded. Raises Unavailable, BatchClosed, NoSuchBatch and
        errors of reading a part; images already yielded stay accepted.
        """
        group: list[Upload] = []
        small = _SmallFiles(self._store)
        try:
            for number, part in enumerate(incoming, start=1):
                if part.field != FIELD:
                    continue
                upload = self._store_part(batch.id, part, number, small)
                if upload is not None:
                    group.append(upload)
                if len(group) == _GROUP:
                    small.flush()
                    full, group = group, []
                    yield from self._accept(batch, full)
            small.flush()
        except BaseException:
            self._discard(batch.id, group)
            raise
        if group:
            yield from self._accept(batch, group)

    def take_known(self, batch: Batch, wanted: Sequence[tuple[str, str]]) -> list[Image | None]:
        """Accept images, by name and sha256, whose bytes some batch has; None for each that must be uploaded.

        Raises Unavailable, BatchClosed, NoSuchBatch; groups accepted before that stay accepted.
        """
        named = [(clean_name(name) or f"image-{number}", sha256) for number, (name, sha256) in enumerate(wanted, 1)]
        hashes = {sha256 for _, sha256 in named}
        taken = {_content(image.name, image.sha256): image for image in self._catalog.stored_in(batch.id, hashes)}
        sources = self._catalog.with_content(hashes)
        asked = {_content(*pair): pair for pair in reversed(named)}  # of two Unicode forms of a name the first counts
        missing = [pair for key, pair in reversed(asked.items()) if key not in taken and pair[1] in sources]
        for start in range(0, len(missing), _GROUP):
            copies = self._copies(batch.id, [(name, sources[sha256]) for name, sha256 in missing[start:][:_GROUP]])
            taken |= {_content(image.name, image.sha256): image for image in self._accept(batch, copies)}
        return [taken.get(_content(*pair)) for pair in named]

    def take_stored(self, batch: Batch, wanted: Sequence[tuple[str, str]]) -> list[Image | None]:
        """Accept images, by id and name, whose bytes their owner has put into the store; None for missing ones.

        Raises Unavailable, BatchClosed, NoSuchBatch; groups accepted before that stay accepted.
        """
        ids = list(dict.fromkeys(image_id for image_id, _ in wanted))
        names = dict(reversed(wanted))  # of two names for one image the first counts
        taken = {image.id: image for image in self._catalog.accepted(ids) if image.batch_id == batch.id}
        missing = [image_id for image_id in ids if image_id not in taken]
        for start in range(0, len(missing), _GROUP):
            read = [self._read_stored(batch.id, image_id, names[image_id]) for image_id in missing[start:][:_GROUP]]
            group = [upload for upload in read if upload is not None]
            images = self._accept(batch, group)
            taken |= {upload.id: image for upload, image in zip(group, images, strict=True)}
        return [taken.get(image_id) for image_id, _ in wanted]

    def _read_stored(self, batch_id: str, image_id: str, name: str) -> Upload | None:
        """Describe an upload that went directly to the store, which has checked its size; None if there is none."""
        try:
            data = self._store.get(layout.image_key(batch_id, image_id)).data
        except NotFound:
            return None
        sha256 = hashlib.sha256(data, usedforsecurity=False).hexdigest()
        return Upload(image_id, clean_name(name) or image_id, sha256, len(data))

    def _copies(self, batch_id: str, named: Sequence[tuple[str, Image]]) -> list[Upload]:
        copies: list[Upload] = []
        try:
            for name, source in named:
                copy = self._copy(batch_id, name, source)
                if copy is not None:
                    copies.append(copy)
        except Unavailable:
            self._discard(batch_id, copies)
            raise
        return copies

    def _copy(self, batch_id: str, name: str, source: Image) -> Upload | None:
        """Copy the bytes, so that each batch can be deleted without regard to others; None if the source is gone."""
        image_id = new_id("img", self._clock())
        original = layout.image_key(source.batch_id, source.id)
        for place in (original, layout.key_before(original)):
            with suppress(NotFound):
                self._store.copy(str(place), layout.image_key(batch_id, image_id))
                return Upload(image_id, name, source.sha256, source.bytes)
        return None  # its batch was just deleted

    def _store_part(self, batch_id: str, part: Part, number: int, small: _SmallFiles) -> Upload | None:
        """Store one file under a new id, a small one with others; None for an empty part where no file was chosen."""
        image_id = new_id("img", self._clock())
        content = _Content(part.chunks, self._max_image_bytes)
        name = clean_name(part.filename or "") or f"image-{number}"
        error = None
        try:
            if head := content.read(_IN_MEMORY):
                key = layout.image_key(batch_id, image_id)
                if len(head) < _IN_MEMORY:
                    small.add(key, head)
                else:
                    self._store.put(key, content.rewound(head))  # type: ignore[arg-type]  # has all of a file that put uses
        except _TooLarge:
            content.skip()
            limit = self._max_image_bytes // (1 << 20)
            error = (
                f"{name[:_IN_A_SENTENCE]}: larger than {limit} MB, the limit of one photo;"
                " an operator can raise it with web.max_image_mb"
            )
        if not content.size:
            if part.filename == "":
                return None
            error = f"{name[:_IN_A_SENTENCE]}: the file is empty"
        return Upload(image_id, name, content.sha256(), content.size, error)

    def _accept(self, batch: Batch, group: Sequence[Upload]) -> list[Image]:
        try:
            images = self._catalog.add_images(batch.id, group, self._clock())
        except (BatchClosed, NoSuchBatch):
            self._discard(batch.id, group)
            raise
        added = {image.id for image in images}
        self._discard(batch.id, [upload for upload in group if upload.id not in added])
        own = {upload.id for upload in group}
        fresh = {image.id: image for image in images if image.id in own and image.status == "received"}
        if fresh:
            self._dispatch.send(batch, list(fresh.values()), self._clock())
        return images

    def _discard(self, batch_id: str, uploads: Sequence[Upload]) -> None:
        """Remove stored files that have no row in the catalogue."""
        keys = [layout.image_key(batch_id, upload.id) for upload in uploads if upload.error is None]
        if not keys:
            return
        try:
            self._store.delete(keys)
        except Unavailable as error:
            logger().warning("unused uploads stay in the store", keys=keys[:3], count=len(keys), reason=str(error))


def _content(name: str, sha256: str) -> tuple[str, str]:
    """Return what identifies an image within its batch: its name, in one Unicode form, and its bytes."""
    return same_name(name), sha256


class _SmallFiles:
    """Small files of one request, stored in groups. Each must be stored, by `flush`, before it is accepted."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._held: dict[str, bytes] = {}
        self._bytes = 0

    def add(self, key: str, data: bytes) -> None:
        """Hold a file, and store all that are held if they are many bytes. Raises Unavailable."""
        self._held[key] = data
        self._bytes += len(data)
        if self._bytes >= _TOGETHER:
            self.flush()

    def flush(self) -> None:
        """Store all files that are held. Raises Unavailable."""
        if self._held:
            self._store.put_all(self._held)
            self._held, self._bytes = {}, 0


class _TooLarge(Exception):
    pass


class _Content(io.RawIOBase):
    """A form part as a file that counts and hashes what is read. Reading beyond the limit raises _TooLarge."""

    def __init__(self, chunks: Iterator[bytes], limit: int) -> None:
        self._chunks = chunks
        self._limit = limit
        self._hash = hashlib.sha256(usedforsecurity=False)
        self._ahead: list[bytes] = []
        self.size = 0

    def rewound(self, head: bytes) -> _Content:
        """Put `head`, which was read, back in front, and return this file."""
        self._ahead.insert(0, head)
        return self

    def read(self, size: int = -1) -> bytes:
        held = sum(map(len, self._ahead))
        while (size < 0 or held < size) and (chunk := next(self._chunks, None)) is not None:
            self._count(chunk)
            if self.size > self._limit:
                raise _TooLarge
            self._ahead.append(chunk)
            held += len(chunk)
        data = b"".join(self._ahead)
        self._ahead = []
        if 0 <= size < len(data):
            self._ahead = [data[size:]]
            data = data[:size]
        return data

    def skip(self) -> None:
        """Read the rest, only for its size and hash."""
        self._ahead = []
        for chunk in self._chunks:
            self._count(chunk)

    def sha256(self) -> str:
        return self._hash.hexdigest()

    def _count(self, chunk: bytes) -> None:
        self._hash.update(chunk)
        self.size += len(chunk)
