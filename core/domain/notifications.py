"""Parses a message on the queue of jobs: a job, feedback, or a bucket's notification of new files. Pure.

Notifications come from S3 directly, from S3 through SNS, or from EventBridge. Their shapes:
https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal
from urllib.parse import unquote_plus

from pydantic import AwareDatetime, BaseModel, Field, ValidationError

from core.domain.dropped_files import Drop, is_valid_key, known_version, make_job
from core.domain.messages import MAX_NAME, Feedback, Job, decode_feedback, decode_job, is_feedback
from core.errors import BadMessage

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
class ParsedMessage:
    """The content of a message: jobs or feedback. Falsy if it holds neither."""

    jobs: tuple[Job, ...] = ()
    ignored: tuple[str, ...] = ()
    """Why there are fewer jobs than records, a phrase for each record without a job."""
    feedback: Feedback | None = None

    def __bool__(self) -> bool:
        return bool(self.jobs or self.feedback)


def parse_message(body: str, tagger: str) -> ParsedMessage:
    """Return the job or feedback in `body`, or jobs for `tagger` for the new files that it names. Raises BadMessage."""
    try:
        return ParsedMessage((decode_job(body),))
    except BadMessage as error:
        if is_feedback(body):
            return ParsedMessage(feedback=decode_feedback(body))
        asked = _read_notification(body, tagger)
        if asked is None:
            raise error from None
        return asked


def preview_message(body: str) -> Job | Feedback:
    """Return the part of a message to show people: its feedback, or its first job. Raises BadMessage."""
    asked = parse_message(body, "")
    if asked.feedback is not None:
        return asked.feedback
    if not asked.jobs:
        raise BadMessage("a bucket's notification of no file")
    return asked.jobs[0]


def _read_notification(body: str, tagger: str) -> ParsedMessage | None:
    """Parse a bucket's notification; return None if `body` has none of the known shapes."""
    if (wrapped := _parse(_FromSns, body)) is not None:
        body = wrapped.message
    if _parse(_TestEvent, body) is not None:
        return ParsedMessage(ignored=("the test event of a new notification",))
    drops: list[Drop | str] = []
    if (records := _parse(_Records, body)) is not None:
        drops = [_drop_of_record(record) for record in records.records]
    elif (event := _parse(_BridgeEvent, body)) is not None:
        drops = [_drop_of_event(event)]
    else:
        return None
    return ParsedMessage(
        jobs=tuple(make_job(drop, tagger) for drop in drops if isinstance(drop, Drop)),
        ignored=tuple(drop for drop in drops if isinstance(drop, str)),
    )


def _drop_of_record(record: _Record) -> Drop | str:
    if not record.name.removeprefix("s3:").startswith("ObjectCreated:"):
        return f"{record.name[:60]} creates no file"
    found = record.s3.object
    # Keys are form-encoded here: "red flower.jpg" comes as "red+flower.jpg".
    return _drop(record.s3.bucket.name, unquote_plus(found.key), found, record.at)


def _drop_of_event(event: _BridgeEvent) -> Drop | str:
    if event.name != "Object Created":
        return f"{event.name[:60]} creates no file"
    return _drop(event.detail.bucket.name, event.detail.object.key, event.detail.object, event.at)


def _drop(bucket: str, key: str, found: _Object | _BridgeObject, at: datetime) -> Drop | str:
    if key.endswith("/") and not found.size:
        return "a folder is not a file"
    if not is_valid_key(key):
        raise BadMessage(f"a file of bucket {bucket} has a name that cannot be stored: {key[:100]!r}")
    version = known_version(found.version or "")
    etag = found.etag.strip('"') or version or found.sequencer
    return Drop(bucket, key, found.size, etag, version, at.timestamp())


def _parse(kind: type[Any], body: str) -> Any:
    try:
        return kind.model_validate_json(body)
    except ValidationError:
        return None
