"""The controller's lease, launch intents and memory: one object in the store, changed only by compare-and-set.

1. The lease belongs to the controller that wrote last. A standby takes it over once it has seen no change for the
   lease's length on its own clock, so two clocks are never compared. The length is part of the lease: an owner with
   slow ticks announces a longer one, so that no standby takes it for dead. The epoch counts the owners.
2. A launch is an intent in the ledger before it is a call to the fleet, and the fleet launches once for each token. So
   a controller that dies or is replaced at any instant leaves either no intent and no workers, or an intent that its
   successor carries out with the same token.
3. Opening an intent writes at once. Everything else (answers, closed intents, known instances, memory) is written with
   the next renewal of the lease: a successor can find it out again from the fleet.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pydantic import TypeAdapter, ValidationError

from config.validation import first_problem
from controller.state.model import PoolMemory
from core.errors import PreconditionFailed, Unavailable
from core.storage import layout
from core.storage.documents import Document
from core.storage.ports import PROCESS, Etag, Instance, ObjectStore, Offering

_TICKS = 5
"""The slowest of this many last ticks determines the length of the lease."""
_LONGEST = 5
"""A lease is at most this many times as long as the settings say, even after a tick in which the machine slept."""


class Fenced(Exception):
    """Another controller holds the lease. A controller that meets this stops acting at once."""


@dataclass(frozen=True, slots=True)
class Lease:
    """Who may act, and for how long after the last write."""

    owner: str = ""
    epoch: int = 0
    beat: int = 0
    """Grows with each write, so that the content and its etag change even if nothing else does."""
    released: bool = True
    lasts_s: float = 0.0
    """Seconds without a write after which another controller may take it; 0: as its own settings say."""


@dataclass(frozen=True, slots=True)
class Intent:
    """A decision to launch `count` workers of an offering. It is open until the fleet lists them, or never will."""

    token: str
    pool: str
    count: int
    at: float
    launched: int | None = None
    """How many the fleet launched; None while its answer is not known."""
    offering: Offering = PROCESS
    """Stored with its price: a replay of the token must repeat the same request to the letter."""

    def unseen(self, instances: Sequence[Instance]) -> int:
        """Return how many of its workers the fleet does not list yet. They are billed all the same."""
        expected = self.count if self.launched is None else self.launched
        return max(0, expected - sum(instance.token == self.token for instance in instances))


@dataclass(frozen=True, slots=True)
class ControllerState:
    """The stored object. `known` are the ids of the fleet's instances that are not orphans."""

    v: int = 1
    lease: Lease = Lease()
    intents: tuple[Intent, ...] = ()
    known: tuple[str, ...] = ()
    memory: dict[str, PoolMemory] = field(default_factory=dict)


_STATE = TypeAdapter(ControllerState)


class Ledger:
    """The controller's state: this controller's own while it leads, otherwise the stored one as last read."""

    def __init__(self, store: ObjectStore, owner: str, lease_s: float, clock: Callable[[], float]) -> None:
        """`clock` is monotonic. `lease_s` must be two of the owner's ticks or more: it renews the lease once a tick."""
        self.owner = owner
        self._document = Document(store, layout.CONTROLLER, parse=_parse, serialise=_STATE.dump_json)
        self._lease_s = lease_s
        self._clock = clock
        self._state = ControllerState()
        self._leads = False
        self._version: Etag | None = None
        """The stored version as last seen. `_changed_at` is when we first saw it, on our clock."""
        self._changed_at = clock()
        self._called_at: float | None = None
        self._intervals: deque[float] = deque(maxlen=_TICKS)

    # --- what it holds ------------------------------------------------------------------------

    @property
    def leads(self) -> bool:
        return self._leads

    @property
    def lease(self) -> Lease:
        return self._state.lease

    @property
    def intents(self) -> tuple[Intent, ...]:
        """The open launches, oldest first."""
        return self._state.intents

    @property
    def known(self) -> frozenset[str]:
        """The ids of the instances that are not orphans."""
        return frozenset(self._state.known)

    @property
    def memory(self) -> Mapping[str, PoolMemory]:
        """The memory that the last decision returned, by pool."""
        return self._state.memory

    # --- what its owner changes ---------------------------------------------------------------

    def open(self, intents: Sequence[Intent]) -> None:
        """Add intents and write them at once. Raises Fenced, or Unavailable: then they may or may not be stored."""
        self._write(replace(self._state, intents=(*self._state.intents, *intents)))

    def answer(self, intent: Intent, launched: int) -> None:
        """Note how many workers the fleet launched for an open intent."""
        others = tuple(one for one in self._state.intents if one is not intent)
        self._state = replace(self._state, intents=(*others, replace(intent, launched=launched)))

    def close(self, intents: Collection[Intent]) -> None:
        """Forget intents: the fleet lists their workers, or never will."""
        self._state = replace(self._state, intents=tuple(one for one in self._state.intents if one not in intents))

    def know(self, instances: Sequence[str]) -> None:
        """Replace the ids of the instances that are not orphans."""
        self._state = replace(self._state, known=tuple(instances))

    def remember(self, memory: Mapping[str, PoolMemory]) -> None:
        """Replace the memory."""
        self._state = replace(self._state, memory=dict(memory))

    # --- the lease ----------------------------------------------------------------------------

    def lead(self) -> bool:
        """Take a free lease, or renew our own, and return whether this controller may act now. Call it once a tick.

        Raises Fenced if the lease was lost, Unavailable if the store does not answer.
        """
        now = self._clock()
        if self._called_at is not None:
            self._intervals.append(now - self._called_at)
        self._called_at = now
        if self._leads:
            self.renew()
        else:
            self._leads = self._take()
        return self._leads

    def renew(self) -> None:
        """Write if a third of the lease is over. Call it between steps of a slow tick. Raises Fenced, Unavailable."""
        if self._leads and self._clock() - self._changed_at >= self._lease_s / 3:
            self.write()

    def write(self) -> None:
        """Write the state and renew the lease. Raises Fenced, or Unavailable: then it may or may not be written."""
        self._write(self._state)

    def release(self) -> None:
        """Give the lease back, so that a successor need not wait for its end. Raises Fenced, Unavailable."""
        if self._leads:
            self._write(replace(self._state, lease=replace(self._state.lease, released=True)))
            self._leads = False

    def follow(self) -> None:
        """Load the stored state and change nothing, for a dry run. Raises Unavailable."""
        found = self._document.read()
        self._state = found[0] if found else ControllerState()

    def _take(self) -> bool:
        found = self._document.load()
        if found is not None:
            self._state = found
            if self._document.etag != self._version:
                self._version, self._changed_at = self._document.etag, self._clock()
            waited = self._clock() - self._changed_at >= (found.lease.lasts_s or self._lease_s)
            if not (waited or found.lease.released or found.lease.owner == self.owner):
                return False
        before = self._state.lease
        self._intervals.clear()  # those of a standby say nothing about an owner's ticks
        try:
            self._put(replace(self._state, lease=Lease(self.owner, before.epoch + 1, before.beat, released=False)))
        except PreconditionFailed:
            return False
        return True

    def _write(self, state: ControllerState) -> None:
        try:
            self._put(state)
        except PreconditionFailed:
            self._leads = False
            raise Fenced from None

    def _put(self, state: ControllerState) -> None:
        slowest = min(2 * max(self._intervals, default=0.0), _LONGEST * self._lease_s)
        lease = replace(state.lease, beat=state.lease.beat + 1, lasts_s=max(self._lease_s, slowest))
        before = self._clock()  # the lease runs from before the write: nobody can have seen it earlier
        try:
            self._document.save(replace(state, lease=lease))
        finally:  # count a write whose answer was lost too, so that no two writes have the same content
            self._state = replace(self._state, lease=replace(self._state.lease, beat=lease.beat))
        self._version, self._changed_at = self._document.etag, before
        self._state = replace(state, lease=lease)


def _parse(data: bytes) -> ControllerState:
    try:
        return _STATE.validate_json(data)
    except ValidationError as error:
        raise Unavailable(
            f"{layout.CONTROLLER} in the store, the controller's ledger, cannot be read ({first_problem(error)}); stop "
            "every controller and delete it: the fleet is found again by listing it"
        ) from None
