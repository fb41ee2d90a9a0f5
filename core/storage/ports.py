"""The three ports: an object store, a queue, a fleet.

Each has a local implementation (`core.local`) and leaves room for another; one contract suite
(`tests/contract`) holds for all of them. Value types are immutable; times are Unix seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import BinaryIO, NewType, Protocol

Etag = NewType("Etag", str)
"""Names one version of one object. Opaque: only equality means anything."""


# --- object store -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class IfAbsent:
    """Put only where no object is (If-None-Match: *)."""


@dataclass(frozen=True, slots=True)
class IfMatch:
    """Put only over the version that was read (If-Match)."""

    etag: Etag


Condition = IfAbsent | IfMatch


@dataclass(frozen=True, slots=True)
class Blob:
    data: bytes
    etag: Etag
    content_type: str = "application/octet-stream"
    version: str = ""
    """Where it lies in a bucket that keeps versions."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    key: str
    size: int
    etag: Etag
    modified: float


@dataclass(frozen=True, slots=True)
class UploadForm:
    """A presigned POST: send `fields` and then the file as multipart/form-data to `url`."""

    url: str
    fields: dict[str, str]


class ObjectStore(Protocol):
    """Keys are `/`-joined segments of letters, digits, `.`, `_`, `-`; a put is atomic and durable when it returns.

    No segment is empty, `.` or `..`; any other key raises ValueError.
    """

    def put(
        self,
        key: str,
        data: bytes | BinaryIO,
        *,
        content_type: str = "application/octet-stream",
        condition: Condition | None = None,
    ) -> Etag:
        """Store `data` under `key`, replacing what is there unless `condition` forbids it.

        A file object is streamed from its current position, never held whole in memory.
        Raises PreconditionFailed if the condition does not hold, Unavailable if the store cannot take it.
        """

    def get(self, key: str) -> Blob:
        """The object's bytes and etag. Raises NotFound, Unavailable."""

    def copy(self, source: str, target: str) -> Etag:
        """Store the bytes of `source` under `target` too, replacing what is there. Raises NotFound, Unavailable."""

    def list(self, prefix: str, start_after: str = "") -> Iterator[ObjectInfo]:
        """Objects whose key starts with `prefix` and sorts after `start_after`, in the order of their keys."""

    def delete(self, keys: Sequence[str]) -> None:
        """Remove the objects; those already gone are no error."""

    def upload_form(self, key: str, *, content_type: str, max_bytes: int, expires_s: int) -> UploadForm | None:
        """A form by which a browser uploads straight into the store; None where the store has none."""


class Source(Protocol):
    """Objects of any bucket, where they lie: read, never changed. An address is `s3://BUCKET/KEY`, the key as it is.

    `s3://VERSION@BUCKET/KEY` is one version of it. Where that cannot be had, what lies there now is read.

    What is no such address raises ValueError.
    """

    def read(self, uri: str, max_bytes: int) -> Blob:
        """The object's bytes and etag. Raises NotFound, Unreadable (a larger one is not begun), Unavailable."""

    def list(self, uri: str, start_after: str = "", *, pages: int | None = None) -> Iterator[ObjectInfo]:
        """Objects whose address starts with `uri` and whose key sorts after `start_after`, by the bytes of their keys.

        One request for each thousand, at most `pages` of them. Raises NotFound where there is no such bucket,
        Unreadable, Unavailable.
        """


# --- queue ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message in flight. `receipt` names this delivery: a later receive of the message outdates it."""

    body: str
    receipt: str
    receive_count: int
    sent_at: float


@dataclass(frozen=True, slots=True)
class Depth:
    """Approximate counts of messages, read at `read_at`."""

    visible: int
    in_flight: int
    delayed: int
    dead: int
    read_at: float

    @property
    def outstanding(self) -> int:
        return self.visible + self.in_flight + self.delayed


class Gauge(Protocol):
    """What a controller needs of a queue."""

    @property
    def name(self) -> str: ...

    def depth(self) -> Depth:
        """Raises Unavailable."""


class Queue(Gauge, Protocol):
    """At-least-once delivery with SQS's semantics.

    A received message is hidden for the visibility timeout and comes back unless it is deleted;
    after `max_receives` deliveries it goes to the dead letters instead.
    """

    @property
    def per_request(self) -> int:
        """How many messages one request carries at most; 1 where gathering so many gains nothing."""

    def send(self, bodies: Sequence[str]) -> None:
        """Append messages; they are durable when this returns. Raises PartialSend, Unavailable."""

    def receive(self, limit: int, wait_s: float) -> list[Delivery]:
        """Up to `limit` messages, oldest first where that is known; waits up to `wait_s` for the first one."""

    def delete(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge. An outdated receipt deletes nothing and is no error."""

    def set_visibility(self, deliveries: Sequence[Delivery], seconds: float) -> None:
        """Hide the messages for `seconds` from now (a heartbeat); 0 gives them back. Outdated receipts are ignored."""

    def peek(self, limit: int) -> list[Delivery]:
        """Up to `limit` messages that wait, as they are: none is taken, hidden or counted as delivered.

        For people who look; `receipt` is empty. Raises Unavailable. Where the service has no such request (SQS), they
        are received and given back, and `receive_count` leaves out what looking adds.
        """

    def dead_letters(self) -> Queue:
        """The queue of messages that were received `max_receives` times and never deleted."""

    def redrive(self, limit: int) -> int:
        """Move up to `limit` dead letters back into this queue as new messages; returns how many."""


# --- fleet ------------------------------------------------------------------------------------


class InstanceState(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    STOPPED = "stopped"
    """Stands still and will never work again, but costs something until it is ended."""
    STOPPING = "stopping"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Offering:
    """One way to get an instance: which type, where, on which market, and at what price."""

    type: str = "process"
    zone: str = "local"
    market: str = "on-demand"
    price: float = 0.0
    """$/h of one instance, when it was offered."""

    def __str__(self) -> str:
        return f"{self.type} {self.market} in {self.zone}"


PROCESS = Offering()
"""The one thing that a single machine has to offer: another process, at no price."""


@dataclass(frozen=True, slots=True)
class Instance:
    """A machine (or process) that runs one worker; the worker's id in the roster is the instance's id.

    `billable` while it is not GONE. A GONE instance is listed for a while, then no more.
    """

    id: str
    pool: str
    state: InstanceState
    launched_at: float
    token: str = ""
    market: str = "on-demand"
    type: str = "process"
    zone: str = "local"
    price: float = 0.0
    """$/h, as its offering said when it was launched."""
    ended: str = field(default="", compare=False)
    """How one that is GONE ended, where its fleet knows and nobody asked it to: a sentence without its subject."""


class Cause(StrEnum):
    """Why a launch fell short, and so what may help."""

    CAPACITY = "capacity"
    """The offering has no more now. The fleet has set it aside: the next one may have some."""
    FAILURE = "failure"
    """May pass by itself; another offering helps no more than this one."""
    LASTING = "lasting"
    """Stays until somebody mends what `Launch.reason` names."""


@dataclass(frozen=True, slots=True)
class Launch:
    """What came of a launch: a shortfall is data, not an exception."""

    instances: list[Instance] = field(default_factory=list)
    shortfall: int = 0
    reason: str = ""
    cause: Cause = Cause.FAILURE


class Fleet(Protocol):
    def instances(self) -> list[Instance]:
        """Every instance of ours, of all pools; one that was launched just now may be missing for a while.

        Raises Unavailable: "unknown" is never an empty list.
        """

    def offerings(self, pool: str) -> list[Offering]:
        """What may be launched for `pool` now, best first; what lately had no capacity is left out.

        Raises Unavailable.
        """

    def launch(self, pool: str, count: int, token: str, offering: Offering) -> Launch:
        """Start `count` workers of `pool`. Idempotent: the same call again returns the instances of the first one.

        A token belongs to one call: it is never used with another pool, count or offering. Raises Unavailable, and
        then it is not known whether anything was launched: the same call again tells.
        """

    def set_aside(self, ids: Sequence[str]) -> None:
        """Leave what these instances were launched by out of `offerings` for a while: their owner wants such ones back.

        Unknown ids are no error, and an offering that cannot run out stays.
        """

    def terminate(self, ids: Sequence[str]) -> None:
        """End these instances: asked to stop first, then ended. Unknown and gone ids are no error."""


# --- the machine ------------------------------------------------------------------------------


class Machine(Protocol):
    """The rented machine that this process runs on, as those tell it who rent it out. All raise Unavailable."""

    @property
    def id(self) -> str:
        """Its instance's id."""

    @property
    def launched_at(self) -> float: ...

    def notice(self) -> str:
        """Why it is about to be taken away, in a sentence; empty while it stays."""

    def risk(self) -> str:
        """Why it may be taken away before long, in a sentence; empty while nothing speaks for that."""
