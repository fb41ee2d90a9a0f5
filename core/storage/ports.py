"""The ports: object store, queue, fleet, and the machine that a process runs on.

`core.local`, `core.aws` and `core.storage.memory*` implement them. One contract suite (`tests/contract`) tests all
implementations. Value types are immutable; times are Unix seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import BinaryIO, NewType, Protocol, runtime_checkable

Etag = NewType("Etag", str)
"""Identifies one version of one object. Opaque: only compare it for equality."""


# --- object store -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class IfAbsent:
    """Put only if there is no object (If-None-Match: *)."""


@dataclass(frozen=True, slots=True)
class IfMatch:
    """Put only over the version with this etag (If-Match)."""

    etag: Etag


Condition = IfAbsent | IfMatch


@dataclass(frozen=True, slots=True)
class Blob:
    data: bytes
    etag: Etag
    content_type: str = "application/octet-stream"
    version: str = ""
    """The version's id, if the object's bucket keeps versions."""


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


Admit = Callable[[int], None]
"""Called with the size (bytes) of an object before its bytes are read. It may wait, or raise to leave them unread."""


class ObjectStore(Protocol):
    """Stores bytes under keys. A put is atomic, and durable when it returns.

    Keys are `/`-joined segments of letters, digits, `.`, `_` and `-`; no segment is empty, `.` or `..`. Any other key
    raises ValueError.
    """

    def put(
        self,
        key: str,
        data: bytes | BinaryIO,
        *,
        content_type: str = "application/octet-stream",
        condition: Condition | None = None,
    ) -> Etag:
        """Store `data` under `key`, replacing any object there unless `condition` forbids it.

        A file object is streamed from its current position and never held whole in memory. Raises PreconditionFailed if
        the condition does not hold, Unavailable if the store cannot accept it.
        """

    def put_all(self, objects: Mapping[str, bytes], *, content_type: str = "application/octet-stream") -> None:
        """Store several objects, replacing any there. All are durable when this returns.

        Faster than a `put` for each where the store can write several at once. Raises Unavailable; then some may be
        stored, and it is safe to put all of them again.
        """

    def get(self, key: str, admit: Admit | None = None) -> Blob:
        """Return the object. Calls `admit` first; its errors pass unchanged. Raises NotFound, Unavailable.

        If reading breaks off and is tried again, `admit` is not called again.
        """

    def copy(self, source: str, target: str) -> Etag:
        """Store the bytes of `source` under `target` too, replacing any object there. Raises NotFound, Unavailable."""

    def list(self, prefix: str, start_after: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects whose key starts with `prefix` and sorts after `start_after`, in order of their keys."""

    def delete(self, keys: Sequence[str]) -> None:
        """Delete the objects. Missing ones are ignored."""

    def upload_form(self, key: str, *, content_type: str, max_bytes: int, expires_s: int) -> UploadForm | None:
        """Return a form with which a browser uploads straight into the store; None if the store does not support it."""


class Source(Protocol):
    """Reads objects of any bucket and never changes them. An address is `s3://BUCKET/KEY`, without URL-encoding.

    `s3://VERSION@BUCKET/KEY` addresses one version; if that cannot be read, the current object is read instead. Other
    addresses raise ValueError.
    """

    def read(self, uri: str, max_bytes: int, admit: Admit | None = None) -> Blob:
        """Return the object. Calls `admit` first, as `ObjectStore.get` does.

        Raises NotFound, Unreadable (also for one larger than `max_bytes`), Unavailable.
        """

    def list(self, uri: str, start_after: str = "", *, pages: int | None = None) -> Iterator[ObjectInfo]:
        """Yield the objects whose address starts with `uri` and whose key sorts, by its bytes, after `start_after`.

        Makes one request for each thousand objects, at most `pages` requests. Raises NotFound if there is no such
        bucket, Unreadable, Unavailable.
        """


# --- queue ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message in flight. `receipt` identifies this delivery; a later delivery of the message outdates it."""

    body: str
    receipt: str
    receive_count: int
    sent_at: float
    position: str = ""
    """The place of a listed message in its queue, a decimal number; empty if received, or the service has no pages."""


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
    """The part of a queue that the controller needs."""

    @property
    def name(self) -> str: ...

    def depth(self) -> Depth:
        """Return the counts of messages. Raises Unavailable."""


class Queue(Gauge, Protocol):
    """At-least-once delivery with SQS's semantics.

    A received message is hidden for the visibility timeout and comes back unless it is deleted. After `max_receives`
    deliveries it goes to the dead letters instead.
    """

    @property
    def per_request(self) -> int:
        """The most messages that one request carries; 1 if larger requests gain nothing."""

    def send(self, bodies: Sequence[str]) -> None:
        """Append messages. They are durable when this returns. Raises PartialSend, Unavailable."""

    def receive(self, limit: int, wait_s: float) -> list[Delivery]:
        """Return up to `limit` messages, oldest first if the queue knows; wait up to `wait_s` for the first one."""

    def delete(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge messages. An outdated receipt is ignored."""

    def set_visibility(self, deliveries: Sequence[Delivery], seconds: float) -> None:
        """Hide the messages for `seconds` from now (a heartbeat); 0 returns them. Outdated receipts are ignored."""

    def peek(self, limit: int, after: str = "") -> list[Delivery]:
        """Return up to `limit` waiting messages for people to look at, without taking, hiding or counting them.

        `after` is the `position` of the last message of the page before; the first page needs none. `receipt` is empty.
        If the service has no such request (SQS), this receives messages and makes them visible again, `receive_count`
        does not count that, and there are no pages: `after` is ignored. Raises Unavailable.
        """

    def dead_letters(self) -> Queue:
        """Return the queue of messages that were received `max_receives` times and never deleted."""

    def redrive(self, limit: int) -> int:
        """Move up to `limit` dead letters back into this queue as new messages. Returns how many."""


@runtime_checkable
class SweepableQueue(Queue, Protocol):
    """Dead letters that remember, across restarts and for all processes, which of them a sweep has handled.

    Their receipts are for `delete` and `mark_swept`. Nothing is hidden or counted as a delivery. All raise Unavailable.
    """

    def unswept(self, limit: int) -> list[Delivery]:
        """Return up to `limit` dead letters that no sweep has handled. They can be deleted once they are marked."""

    def swept(self, limit: int, after: str = "") -> list[Delivery]:
        """Return up to `limit` dead letters that a sweep has handled, from position `after` on, in order."""

    def mark_swept(self, deliveries: Sequence[Delivery]) -> None:
        """Remember that these are handled. One that was redriven meanwhile is ignored."""


# --- fleet ------------------------------------------------------------------------------------


class InstanceState(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    STOPPED = "stopped"
    """The instance will never work again, and costs money until it is terminated."""
    STOPPING = "stopping"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Offering:
    """One way to get an instance: which type, in which zone, on which market, at which price."""

    type: str = "process"
    zone: str = "local"
    market: str = "on-demand"
    price: float = 0.0
    """$/h of one instance at the time of the offer."""

    def __str__(self) -> str:
        return f"{self.type} {self.market} in {self.zone}"


PROCESS = Offering()
"""The only offering of a single machine: another process, for free."""


@dataclass(frozen=True, slots=True)
class Instance:
    """A machine (or process) that runs one worker. Its id is the worker's id in the roster.

    It is `billable` until it is GONE. A GONE instance is listed for a while.
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
    """$/h of its offering at the launch."""
    ended: str = field(default="", compare=False)
    """How a GONE instance ended, if its fleet knows and nobody asked for its end: a sentence without its subject."""


class Cause(StrEnum):
    """Why a launch fell short, which decides what may help."""

    CAPACITY = "capacity"
    """The offering has no more capacity now. The fleet has set it aside; the next offering may have some."""
    FAILURE = "failure"
    """The failure may pass by itself; another offering would not help."""
    LASTING = "lasting"
    """The failure lasts until somebody fixes the problem in `Launch.reason`."""


@dataclass(frozen=True, slots=True)
class Launch:
    """The outcome of a launch. A shortfall is data, not an exception."""

    instances: list[Instance] = field(default_factory=list)
    shortfall: int = 0
    reason: str = ""
    cause: Cause = Cause.FAILURE


class Fleet(Protocol):
    def instances(self) -> list[Instance]:
        """Return all our instances, of all pools. A new one may be missing for a while.

        Raises Unavailable: "unknown" is never an empty list.
        """

    def offerings(self, pool: str) -> list[Offering]:
        """Return what can be launched for `pool` now, best first, without offerings that lately had no capacity.

        Raises Unavailable.
        """

    def launch(self, pool: str, count: int, token: str, offering: Offering) -> Launch:
        """Start `count` workers of `pool`. Idempotent: the same call again returns the instances of the first one.

        A token belongs to one call: never use it with another pool, count or offering. If this raises Unavailable,
        nobody knows whether anything was launched; repeat the call to find out.
        """

    def set_aside(self, ids: Sequence[str]) -> None:
        """Leave the offerings of these instances out of `offerings` for a while: the cloud is taking them back.

        Unknown ids are ignored. An offering that cannot run out stays.
        """

    def terminate(self, ids: Sequence[str]) -> None:
        """End these instances: ask them to stop, then end them. Unknown and gone ids are ignored."""


# --- the machine ------------------------------------------------------------------------------


class Machine(Protocol):
    """The cloud instance this process runs on, as its metadata service describes it. All methods raise Unavailable."""

    @property
    def id(self) -> str:
        """The instance's id."""

    @property
    def launched_at(self) -> float: ...

    def notice(self) -> str:
        """Return why the provider is about to take the instance away, in a sentence; "" while it stays."""

    def risk(self) -> str:
        """Return why the provider may soon take the instance away, in a sentence; "" if nothing points to that."""
