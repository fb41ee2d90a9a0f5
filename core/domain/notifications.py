"""What a message on the queue of jobs asks for: a job, what a bucket says of its files as jobs, feedback. Pure.

Shapes: https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html, the same through
SNS, and EventBridge's, https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html
"""

from __future__ import annotations

import hashlib
from base64 import b32encode
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal
from urllib.parse import unquote, unquote_plus

from pydantic import AwareDatetime, BaseModel, Field, ValidationError

from core.domain.messages import MAX_NAME, Feedback, Job, Origin, decode_feedback, decode_job, is_feedback
from core.errors import BadMessage
from core.storage import layout
from core.storage.addresses import address as address  # also found here, as those use it who read notifications
from core.storage.addresses import split_address as split_address
from core.storage.addresses import version_of
from core.storage.ports import Blob

_DIGITS = 26
"""Of an id, five bits each: two files never share one."""
_DROPPED = "drop_"

_Bucket = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]$")]
_Key = Annotated[str, Field(min_length=1, max_length=3 * MAX_NAME)]  # 1,024 bytes, each %XX at most


class _BucketName(BaseModel):
    name: _Bucket


class _Object(BaseModel):
    key: _Key
    size: int | None = None
    etag: str = Field(default="", alias="eTag")
    version: str | None = Field(default=None, alias="versionId")
    sequencer: str = ""


class _S3(BaseModel):
    bucket: _BucketName
    object: _Object


class _Record(BaseModel):
    source: Literal["aws:s3"] = Field(alias="eventSource")
    name: str = Field(alias="eventName")
    at: AwareDatetime = Field(alias="eventTime")
    s3: _S3


class _Records(BaseModel):
    records: list[_Record] = Field(alias="Records")


class _TestEvent(BaseModel):
    event: Literal["s3:TestEvent"] = Field(alias="Event")


class _BridgeObject(BaseModel):
    key: _Key
    size: int | None = None
    etag: str = ""
    version: str | None = Field(default=None, alias="version-id")
    sequencer: str = ""


class _Detail(BaseModel):
    bucket: _BucketName
    object: _BridgeObject


class _BridgeEvent(BaseModel):
    source: Literal["aws.s3"]
    name: str = Field(alias="detail-type")
    at: AwareDatetime = Field(alias="time")
    detail: _Detail


class _FromSns(BaseModel):
    type: Literal["Notification"] = Field(alias="Type")
    message: str = Field(alias="Message")


@dataclass(frozen=True, slots=True)
class Asked:
    """The jobs that a message asks for, and why it asks for fewer than it has records; or what is to be learned."""

    jobs: tuple[Job, ...] = ()
    ignored: tuple[str, ...] = ()
    feedback: Feedback | None = None

    def __bool__(self) -> bool:
        """Whether it asks for anything."""
        return bool(self.jobs or self.feedback)


@dataclass(frozen=True, slots=True)
class _Put:
    """One file that was put into a bucket."""

    bucket: str
    key: str
    size: int | None
    etag: str
    """The same for the same content: a duplicate of this event has it too, a file put over this one has another."""
    version: str
    """Empty where the bucket keeps none."""
    at: float


def asked_by(body: str, tagger: str) -> Asked:
    """The job that `body` is, or those of the files of which it tells, or feedback. Raises BadMessage."""
    try:
        return Asked((decode_job(body),))
    except BadMessage as error:
        if is_feedback(body):
            return Asked(feedback=decode_feedback(body))
        asked = _told(body, tagger)
        if asked is None:
            raise error from None
        return asked


def shown_job(body: str) -> Job | Feedback:
    """For people: the job or the feedback that `body` is, or the job of the first file of which it tells.

    Raises BadMessage.
    """
    asked = asked_by(body, "")
    if asked.feedback is not None:
        return asked.feedback
    if not asked.jobs:
        raise BadMessage("a bucket's notification of no file")
    return asked.jobs[0]


def is_drop(batch_id: str) -> bool:
    """Whether this batch gathers dropped files; its owner did not make it, and its originals are not ours."""
    return batch_id.startswith(_DROPPED)


def make_image_id(bucket: str, key: str, etag: str) -> str:
    """Of a dropped file: the same for the same content under the same key, another one for what replaces it."""
    return f"img_{_digest(bucket, key, etag)}"


def about(job: Job, blob: Blob) -> Job:
    """Return the job of a dropped file as one about what was read: with its id, its version, its hash and its size.

    What an event tells of may have been overwritten before it was handled. The event of what lies there now makes the
    same job of it, so that both together come to one image.
    """
    if job.origin is None:
        return job
    bucket, key = split_address(job.key)
    uri = address(bucket, key, _known(blob.version))
    read = {"uri": uri, "sha256": hashlib.sha256(blob.data).hexdigest(), "bytes": len(blob.data)}
    origin = job.origin.model_copy(update=read)
    return job.model_copy(update={"image_id": make_image_id(bucket, key, blob.etag), "key": uri, "origin": origin})


def decoded(job: Job) -> Iterator[Job]:
    """Yield what a job may be about instead, where nothing lies under the key that its event names.

    AWS documents that keys are URL-encoded in S3's own notifications, and no encoding of them in EventBridge's events
    (links above): there they are as they are. Other servers encode them there too. The id stays that of the event.
    """
    if job.origin is None:
        return
    bucket, key = split_address(job.key)
    for other in dict.fromkeys((unquote_plus(key), unquote(key))):
        if other == key or not _writable(other):
            continue
        put = _Put(bucket, other, job.origin.bytes, "", version_of(job.key), job.origin.dropped_at)
        yield _job(put, job.tagger).model_copy(update={"image_id": job.image_id})


def same_content(job: Job, blob: Blob) -> bool:
    """Whether the event that the job was made from tells of this content."""
    bucket, key = split_address(job.key)
    return make_image_id(bucket, key, blob.etag) == job.image_id


def _told(body: str, tagger: str) -> Asked | None:
    """None where it is no notification of a shape that is known."""
    if (wrapped := _parsed(_FromSns, body)) is not None:
        body = wrapped.message
    if _parsed(_TestEvent, body) is not None:
        return Asked(ignored=("the test event of a new notification",))
    puts: list[_Put | str] = []
    if (records := _parsed(_Records, body)) is not None:
        puts = [_put_of_record(record) for record in records.records]
    elif (event := _parsed(_BridgeEvent, body)) is not None:
        puts = [_put_of_event(event)]
    else:
        return None
    return Asked(
        jobs=tuple(_job(put, tagger) for put in puts if isinstance(put, _Put)),
        ignored=tuple(put for put in puts if isinstance(put, str)),
    )


def _put_of_record(record: _Record) -> _Put | str:
    if not record.name.removeprefix("s3:").startswith("ObjectCreated:"):
        return f"{record.name[:60]} makes no file"
    found = record.s3.object
    # Keys are form-encoded here: "red flower.jpg" comes as "red+flower.jpg".
    return _put(record.s3.bucket.name, unquote_plus(found.key), found, record.at)


def _put_of_event(event: _BridgeEvent) -> _Put | str:
    if event.name != "Object Created":
        return f"{event.name[:60]} makes no file"
    return _put(event.detail.bucket.name, event.detail.object.key, event.detail.object, event.at)


def _put(bucket: str, key: str, found: _Object | _BridgeObject, at: datetime) -> _Put | str:
    if key.endswith("/") and not found.size:
        return "a folder is no file"
    if not _writable(key):
        raise BadMessage(f"a file of bucket {bucket} has a name that cannot be written down: {key[:100]!r}")
    version = _known(found.version or "")
    etag = found.etag.strip('"') or version or found.sequencer
    return _Put(bucket, key, found.size, etag, version, at.timestamp())


def _known(version: str) -> str:
    """A version that stays what it is: "null" is what a bucket calls the one that it overwrites."""
    return "" if version == "null" else version


def _writable(key: str) -> bool:
    return "\0" not in key and not any("\ud800" <= character <= "\udfff" for character in key)


def _job(put: _Put, tagger: str) -> Job:
    folder, name = _folder_and_name(put.key)
    uri = address(put.bucket, put.key, put.version)
    return Job(
        batch_id=f"{_DROPPED}{_digest(put.bucket, folder)}",
        image_id=make_image_id(put.bucket, put.key, put.etag),
        key=uri,
        name=name[-MAX_NAME:] or put.key,
        tagger=tagger,
        submitted_at=put.at,
        origin=Origin(
            uri=uri,
            folder=address(put.bucket, folder),
            dropped_at=put.at,
            bytes=put.size or 0,
        ),
    )


def _folder_and_name(key: str) -> tuple[str, str]:
    """The folder right below `images/`, or right below the bucket, and the rest of the key."""
    below = layout.DROPS if key.startswith(layout.DROPS) else ""
    top, slash, rest = key.removeprefix(below).partition("/")
    return (f"{below}{top}/", rest) if slash and rest else (below, key.removeprefix(below))


def _digest(*parts: str) -> str:
    hashed = hashlib.sha256("\0".join(parts).encode()).digest()
    return b32encode(hashed).decode().lower()[:_DIGITS]


def _parsed(kind: type[Any], body: str) -> Any:
    try:
        return kind.model_validate_json(body)
    except ValidationError:
        return None
