"""The controller's lease, launch intents and memory: one object in the store, changed only by compare-and-set.

Who owns the lease is who wrote last. A standby takes it over when it has seen no change for the lease's length on its
own clock, so that no two clocks are ever compared. That length is in the lease: an owner whose ticks are slow says so,
and is not taken for dead. The epoch counts the owners.

A launch is an intent in the ledger before it is a call to the fleet, and the fleet launches once per token. So a
controller that dies, or is replaced, at any instant leaves either no intent and no workers, or an intent that its
successor carries out with the same token.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from pydantic import TypeAdapter, ValidationError

from controller.state.model import PoolMemory
from core.errors import NotFound, PreconditionFailed, Unavailable
from core.storage import layout
from core.storage.ports import PROCESS, Etag, IfAbsent, IfMatch, Instance, ObjectStore, Offering


@dataclass(frozen=True, slots=True)
class Lease:
    owner: str = ""
    epoch: int = 0
    beat: int = 0
    """Grows with each write: content, and so the etag, changes even where nothing else does."""
    released: bool = True
    lasts_s: float = 0.0
    """Seconds without a write after which another may take it; 0: as long as the other's own settings say."""


@dataclass(frozen=True, slots=True)
class Intent:
    """The will to launch `count` workers by an offering; open until the fleet lists what came of it."""

    token: str
    pool: str
    count: int
    at: float
    launched: int | None = None
    """How many the fleet launched; None while its answer is not known."""
    offering: Offering = PROCESS
    """Kept with its price: a replay of the token must repeat the same request to the letter."""

    def unseen(self, instances: Sequence[Instance]) -> int:
        """How many of its workers are not listed yet: they are billed all the same."""
        expected = self.count if self.launched is None else self.launched
        return max(0, expected - sum(instance.token == self.token for instance in instances))


@dataclass(frozen=True, slots=True)
class Book:
    """The whole object. `known` are the instances of ours that are no orphans."""

    v: int = 1
    lease: Lease = Lease()
    intents: tuple[Intent, ...] = ()
    known: tuple[str, ...] = ()
    memory: dict[str, PoolMemory] = field(default_factory=dict)


_BOOK = TypeAdapter(Book)
_REMEMBERED = 5
"""Ticks of which the slowest counts for the length of the lease."""
_SLOWEST = 5
"""No lease is longer than so many of the settings' length: a machine that slept says nothing of its ticks."""


class Fenced(Exception):
    """Another controller holds the lease. Whoever meets this stops acting at once."""


class Ledger:
    """`book` is this controller's own while it leads; what is set in it is written with the next `save` or renewal."""

    def __init__(self, store: ObjectStore, owner: str, lease_s: float, clock: Callable[[], float]) -> None:
        """`lease_s` is two of the owner's ticks or more: a standby that ticks as it does then waits three at most."""
        self._store = store
        self._owner = owner
        self._lease_s = lease_s
        self._clock = clock
        self._etag: Etag | None = None
        self._changed_at = clock()
        self._called_at: float | None = None
        self._intervals: deque[float] = deque(maxlen=_REMEMBERED)
        self.leads = False
        self.book = Book()

    def lead(self) -> bool:
        """Whether this controller may act now: takes a free lease, and renews its own at a third of its length.

        Raises Fenced when the lease was lost, Unavailable when that cannot be told.
        """
        now = self._clock()
        if self._called_at is not None:
            self._intervals.append(now - self._called_at)
        self._called_at = now
        if not self.leads:
            self.leads = self._take()
        else:
            self.keep()
        return self.leads

    def keep(self) -> None:
        """Renew the lease if a third of it is over: between the steps of a slow tick. Raises Fenced, Unavailable."""
        if self.leads and self._clock() - self._changed_at >= self._lease_s / 3:
            self.save(self.book)

    def save(self, book: Book) -> None:
        """Write `book` and renew the lease. Raises Fenced, or Unavailable: then `book` may or may not be written."""
        try:
            try:
                self._put(book, self._etag)
            except PreconditionFailed:
                # Ours may be the write that came between: one whose answer was lost on its way back.
                found = self.peek()
                if found is None or found[0].lease.owner != self._owner:
                    raise
                self._etag = found[1]
                self._put(book, self._etag)
        except PreconditionFailed:
            self.leads = False
            raise Fenced from None

    def release(self) -> None:
        """Give the lease back, so that a successor need not wait for its end. Raises Fenced, Unavailable."""
        if self.leads:
            self.save(replace(self.book, lease=replace(self.book.lease, released=True)))
            self.leads = False

    def peek(self) -> tuple[Book, Etag] | None:
        """What is written now; None where there never was a controller."""
        try:
            blob = self._store.get(layout.CONTROLLER)
        except NotFound:
            return None
        try:
            return _BOOK.validate_json(blob.data), blob.etag
        except ValidationError as error:
            raise Unavailable(
                f"{layout.CONTROLLER} in the store, the controller's ledger, cannot be read ({error.error_count()} "
                "errors); stop every controller and delete it: the fleet is found again by listing it"
            ) from None

    def _take(self) -> bool:
        found = self.peek()
        if found is not None:
            self.book, etag = found
            if etag != self._etag:
                self._etag, self._changed_at = etag, self._clock()
            lease = self.book.lease
            waited = self._clock() - self._changed_at >= (lease.lasts_s or self._lease_s)
            if not (waited or lease.released or lease.owner == self._owner):
                return False
        before = self.book.lease
        mine = Lease(self._owner, before.epoch + 1, before.beat, released=False)
        self._intervals.clear()  # those of a standby say nothing of an owner's
        try:
            self._put(replace(self.book, lease=mine), found and found[1])
        except PreconditionFailed:
            return False
        return True

    def _put(self, book: Book, over: Etag | None) -> None:
        slowest = min(2 * max(self._intervals, default=0.0), _SLOWEST * self._lease_s)
        lease = replace(book.lease, beat=book.lease.beat + 1, lasts_s=max(self._lease_s, slowest))
        book = replace(book, lease=lease)
        condition = IfAbsent() if over is None else IfMatch(over)
        before = self._clock()  # the lease runs from before the write: nobody can have seen it earlier
        self._etag = self._store.put(
            layout.CONTROLLER, _BOOK.dump_json(book), content_type="application/json", condition=condition
        )
        self._changed_at = before
        self.book = book
