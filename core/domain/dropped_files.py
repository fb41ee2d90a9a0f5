"""Jobs of dropped files: files that another program put into a bucket, without an upload to the web tier. Pure.

1. An event of the bucket turns a dropped file into an item. Its id is derived from bucket, key and content: an event
   that is delivered twice makes one item, and a file that replaces another makes a new one.
2. The files in one folder make up one batch, whose id is derived from the folder.
3. Between event and reading, the file may be replaced. `job_as_read` turns the job into one about the bytes that were
   read, and the event of the newer file makes the same job: both together make one image.
"""

from __future__ import annotations

import hashlib
from base64 import b32encode
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote, unquote_plus

from core.domain.addresses import DROPS, address, split_address, version_of
from core.domain.messages import MAX_NAME, Job, Origin

_DIGITS = 26
"""Digits of an id, five bits each: two files never share one."""
_BATCH_PREFIX = "drop_"


@dataclass(frozen=True, slots=True)
class Drop:
    """One file that was put into a bucket."""

    bucket: str
    key: str
    size: int | None
    etag: str
    """Equal for equal content: a repeated event has the same etag, a file that replaces this one has another."""
    version: str
    """Empty where the bucket keeps no versions."""
    at: float
    """Unix seconds."""


def is_drop(batch_id: str) -> bool:
    """Return whether this batch gathers dropped files. Nobody created it, and we must not delete its originals."""
    return batch_id.startswith(_BATCH_PREFIX)


def make_image_id(bucket: str, key: str, etag: str) -> str:
    """Return the id of a dropped file: equal for equal content under the same key, different for a replacement."""
    return f"img_{_digest(bucket, key, etag)}"


def make_job(drop: Drop, tagger: str) -> Job:
    folder, name = _split_key(drop.key)
    uri = address(drop.bucket, drop.key, drop.version)
    return Job(
        batch_id=f"{_BATCH_PREFIX}{_digest(drop.bucket, folder)}",
        image_id=make_image_id(drop.bucket, drop.key, drop.etag),
        key=uri,
        name=name[-MAX_NAME:] or drop.key,
        tagger=tagger,
        submitted_at=drop.at,
        origin=Origin(
            uri=uri,
            folder=address(drop.bucket, folder),
            dropped_at=drop.at,
            bytes=drop.size or 0,
        ),
    )


def job_as_read(job: Job, data: bytes, *, etag: str, version: str) -> Job:
    """Return a dropped file's job with id, version, hash and size of the bytes read; any other job unchanged."""
    if job.origin is None:
        return job
    bucket, key = split_address(job.key)
    uri = address(bucket, key, known_version(version))
    read = {"uri": uri, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    origin = job.origin.model_copy(update=read)
    return job.model_copy(update={"image_id": make_image_id(bucket, key, etag), "key": uri, "origin": origin})


def decoded_jobs(job: Job) -> Iterator[Job]:
    """Yield the jobs to try if no object has the key of the event: the key may be URL-encoded.

    S3's own notifications encode keys, as AWS documents. For EventBridge's events it documents no encoding, and AWS
    uses none (see `core.domain.notifications`); other servers encode keys there too. The jobs keep the event's id.
    """
    if job.origin is None:
        return
    bucket, key = split_address(job.key)
    for other in dict.fromkeys((unquote_plus(key), unquote(key))):
        if other == key or not is_valid_key(other):
            continue
        drop = Drop(bucket, other, job.origin.bytes, "", version_of(job.key), job.origin.dropped_at)
        yield make_job(drop, job.tagger).model_copy(update={"image_id": job.image_id})


def is_same_content(job: Job, etag: str) -> bool:
    """Return whether the job's event is about the content with this etag."""
    return make_image_id(*split_address(job.key), etag) == job.image_id


def known_version(version: str) -> str:
    """Return the version, "" if it does not keep its content: a bucket without versions calls all of them "null"."""
    return "" if version == "null" else version


def is_valid_key(key: str) -> bool:
    """Return whether the key can be stored and sent: no NUL and no lone surrogate."""
    return "\0" not in key and not any("\ud800" <= character <= "\udfff" for character in key)


def _split_key(key: str) -> tuple[str, str]:
    """Return the folder right below `images/`, or right below the bucket, and the rest of the key."""
    below = DROPS if key.startswith(DROPS) else ""
    top, slash, rest = key.removeprefix(below).partition("/")
    return (f"{below}{top}/", rest) if slash and rest else (below, key.removeprefix(below))


def _digest(*parts: str) -> str:
    hashed = hashlib.sha256("\0".join(parts).encode()).digest()
    return b32encode(hashed).decode().lower()[:_DIGITS]
