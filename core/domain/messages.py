"""The messages on the queues: a `Job` or `Feedback` goes in, an `OutputMessage` with a `Result` comes out.

They are frozen, and checked when they are read. Times are Unix seconds.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, ValidationError

from config.settings import Task
from config.validation import first_problem
from core.errors import BadMessage

MAX_NAME = 1024
"""Longest file name, in characters. The web tier cuts longer ones."""

MAX_INLINE_RESULT = 200_000
"""The largest result, in bytes, that the output queue carries. A larger one is read from the store."""

MAX_OPINIONS = 300
"""The most opinions about one image that an adaptive tagger gets; the latest ones."""

M = TypeVar("M", bound=BaseModel)

Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$")]
"""A segment of a store key. The pattern keeps a message from naming another object."""

Confidence = Annotated[float, Field(ge=0, le=1)]


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")
    v: Literal[1] = 1


class TagOptions(BaseModel):
    """What a batch asks of its tagger. None leaves the pool's default."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    top_k: Annotated[int, Field(ge=1, le=1000)] | None = None
    min_confidence: Confidence | None = None
    cumulative: Annotated[float, Field(gt=0, le=1)] | None = None
    """For taggers whose confidences sum to 1: the smallest set of tags that together reach it."""
    tasks: tuple[Task, ...] | None = None
    """For florence2: what to do."""
    candidates: Annotated[tuple[str, ...], Field(max_length=100)] | None = None
    """For florence2's task `find`: the names of things to look for."""

    def asked(self) -> dict[str, Any]:
        """Return the options that are not None, to send or store: older versions refuse options they do not know."""
        return self.model_dump(exclude_none=True)


SentOptions = Annotated[TagOptions, PlainSerializer(TagOptions.asked)]


class Origin(BaseModel):
    """Where a dropped file is. Nobody uploaded it; the catalogue first sees it in its result."""

    model_config = ConfigDict(frozen=True)
    uri: str
    """With its version once that is known; see `core.domain.addresses`."""
    folder: str
    """The address of the folder whose files make up the batch."""
    dropped_at: float
    sha256: str = ""
    """The hash of what the worker read, as `bytes` is its size; empty if it could read nothing."""
    bytes: int = 0


class Job(_Message):
    """One image to tag.

    `key` is a key of the store, or an address: `s3://BUCKET/KEY` or `s3://VERSION@BUCKET/KEY`.
    """

    batch_id: Id
    image_id: Id
    key: str
    name: str
    tagger: str
    submitted_at: float
    options: SentOptions = TagOptions()
    attempt: Annotated[int, Field(ge=0)] = 0
    """Grows each time the image's owner has it tried again."""
    origin: Origin | None = None
    """Only for dropped files."""
    store_only: bool = False
    """The result is stored and not sent: the job's sender reads it from the store."""
    pack: bool = False
    """With `store_only`: the result may be stored in a pack with others (`core.storage.packs`)."""
    suspected: Literal["", "decoding", "tagging"] = ""
    """What a worker lost to this image: a decoder, or itself. Such images are processed apart, after the others."""

    @property
    def place(self) -> str:
        """Where its bytes should be, as words in a sentence to its owner."""
        return "their bucket" if "://" in self.key else "the store"


class Opinion(BaseModel):
    """What people decided about one tag of an image: whether it belongs to the image."""

    model_config = ConfigDict(frozen=True)
    name: str
    wanted: bool


class Feedback(_Message):
    """All that people decided about the tags of one image. It replaces earlier feedback about that image.

    The message with the higher `revision` is the later one, whichever arrives first.
    """

    kind: Literal["feedback"] = "feedback"
    batch_id: Id
    image_id: Id
    key: str
    """Where the image is, as in its job."""
    name: str
    revision: Annotated[int, Field(ge=0)]
    opinions: Annotated[tuple[Opinion, ...], Field(max_length=MAX_OPINIONS)] = ()


class Box(BaseModel):
    """Where a tag was seen: x, y, width, height relative to the image, each 0..1."""

    model_config = ConfigDict(frozen=True)
    box: tuple[float, float, float, float]
    confidence: Confidence | None = None


class Tag(BaseModel):
    """`confidence` is 0..1, or None if the model gives none; it is never invented."""

    model_config = ConfigDict(frozen=True)
    name: str
    confidence: Confidence | None
    source: Literal["model", "person"] = "model"
    instances: tuple[Box, ...] = ()


class Timings(BaseModel):
    """Milliseconds of each stage. `queue` runs from submission until a worker receives the job."""

    model_config = ConfigDict(frozen=True)
    queue: float = 0.0
    fetch: float = 0.0
    decode: float = 0.0
    infer: float = 0.0


class Result(_Message):
    """The result for one image: tags, or an error that its owner can read."""

    batch_id: Id
    image_id: Id
    name: str
    tagger: str
    tags: tuple[Tag, ...] = ()
    caption: str | None = None
    error: str | None = None
    worker: str = ""
    finished_at: float = 0.0
    timings_ms: Timings = Timings()
    attempt: Annotated[int, Field(ge=0)] = 0
    """The job's."""
    origin: Origin | None = None
    """The job's, with what the worker learned about the file."""
    width: Annotated[int, Field(ge=1)] | None = None
    """Width of the upright picture in pixels, as `height` is its height; None if no worker read them."""
    height: Annotated[int, Field(ge=1)] | None = None

    @property
    def ok(self) -> bool:
        return self.error is None


class OutputMessage(_Message):
    """A key-value pair (file name → labels) with the full result, or with its key in the store."""

    key: str
    value: tuple[str, ...]
    result: Result | None = None
    result_key: str | None = None


def log_ids(message: Job | Feedback | Result) -> dict[str, str]:
    """Return the ids for a log line about this image."""
    return {"batch": message.batch_id, "image": message.image_id}


def encode(message: Job | Feedback | Result | OutputMessage) -> str:
    """Return the message as JSON. It escapes the two Unicode characters that SQS refuses."""
    return message.model_dump_json(exclude_defaults=False).replace("\ufffe", "\\ufffe").replace("\uffff", "\\uffff")


def decode_job(body: str) -> Job:
    """Parse a job. Raises BadMessage."""
    return _decode(Job, body)


def decode_feedback(body: str) -> Feedback:
    """Parse feedback. Raises BadMessage."""
    return _decode(Feedback, body)


def is_feedback(body: str) -> bool:
    """Return whether the body says that it is feedback; the rest of it may be damaged."""
    try:
        _Kind.model_validate_json(body)
    except ValidationError:
        return False
    return True


class _Kind(BaseModel):
    kind: Literal["feedback"]


def decode_result(body: str | bytes) -> Result:
    """Parse a result. Raises BadMessage."""
    return _decode(Result, body)


def decode_output(body: str) -> OutputMessage:
    """Parse a message of the output queue. Raises BadMessage."""
    return _decode(OutputMessage, body)


def encode_output(result: Result, result_key: str) -> str:
    """Return the output queue's message for a result that is stored under `result_key`."""
    value = tuple(tag.name for tag in result.tags)
    body = encode(OutputMessage(key=result.name, value=value, result=result, result_key=result_key))
    if len(body.encode()) <= MAX_INLINE_RESULT:
        return body
    return encode(OutputMessage(key=result.name, value=(), result_key=result_key))


def _decode(kind: type[M], body: str | bytes) -> M:
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise BadMessage(f"not a {kind.__name__} message: {first_problem(error, whole='body')}") from None
