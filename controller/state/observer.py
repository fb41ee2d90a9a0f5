"""Read the fleet, the roster and the queues once a tick, and judge what was read. Decides nothing, writes nothing.

`Observer.observe` returns a `Sighting`: the observation for the policy, and what the ledger should take from it. If the
fleet or the roster does not answer, every pool is unread. If a pool's queue or offerings cannot be read, that pool is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from controller.state.ledger import Intent, Ledger
from controller.state.model import Observation
from controller.state.tracker import Reading, StateTracker
from core.errors import Unavailable
from core.fleet.roster import Glance, Roster
from core.storage.ports import Depth, Fleet, Gauge, Instance, InstanceState, Offering
from core.util.clock import Clock


@dataclass(frozen=True, slots=True)
class Sighting:
    """The result of one observation. Without a `reading`, all pools are unread and nothing else is set."""

    observation: Observation
    reading: Reading | None = None
    cap_unread: bool = False
    """The store has an operator's cap that cannot be read."""
    alive: tuple[Instance, ...] = ()
    """The instances that are not gone."""
    known: tuple[str, ...] = ()
    """The ids of the `alive` instances that are not orphans."""
    adopted: tuple[str, ...] = ()
    """The ids in `known` that are new to the ledger and that none of its intents launched."""
    settled: tuple[Intent, ...] = ()
    """Open intents whose workers are all listed, or never will be."""


class Observer:
    """Observes during one leader's term. One observation covers at most `longest_s` seconds."""

    def __init__(
        self,
        fleet: Fleet,
        roster: Roster,
        queues: Mapping[str, Gauge],
        tracker: StateTracker,
        clock: Clock,
        *,
        longest_s: float,
        boot_deadline_s: float,
    ) -> None:
        self._fleet = fleet
        self._roster = roster
        self._queues = queues
        self._tracker = tracker
        self._clock = clock
        self._longest_s = longest_s
        self._boot_deadline_s = boot_deadline_s
        self._read_at = clock.monotonic()
        self._at_risk: dict[str, bool] = {}
        """Workers whose machine is being taken away (True) or may be (False)."""

    def observe(self, ledger: Ledger, unanswered: frozenset[str]) -> Sighting:
        """Read everything once. `unanswered` are the tokens of launches that keep failing without an answer."""
        now = self._clock.monotonic()
        try:
            instances, seen = self._fleet.instances(), self._roster.glance()
        except Unavailable as error:
            return Sighting(self._tracker.repeat_unread(f"the fleet cannot be read ({error})"))
        self._exclude_offerings(seen)
        depths, offerings = self._read_pools()
        reading = Reading(
            at=self._clock.wall(),
            instances=instances,
            heartbeats=seen.workers,
            drain_requests=seen.drain_requests,
            depths=depths,
            paused=seen.paused,
            cap=seen.cap,
            offerings=offerings,
        )
        elapsed, self._read_at = min(now - self._read_at, self._longest_s), now
        observation = self._tracker.observe(reading, ledger.intents, elapsed, ledger.known, unanswered)
        return self._sighting(observation, reading, ledger, seen.cap_unread)

    def anything_waits(self) -> bool:
        """Return whether any queue has work now. A queue that cannot be read counts as empty."""
        depths = (_depth(queue) for queue in self._queues.values())
        return any(isinstance(depth, Depth) and depth.outstanding > 0 for depth in depths)

    def _sighting(self, observation: Observation, reading: Reading, ledger: Ledger, cap_unread: bool) -> Sighting:
        tokens = {intent.token for intent in ledger.intents}
        alive = [instance for instance in reading.instances if instance.state is not InstanceState.GONE]
        known, before = [one for one in alive if one.id not in self._tracker.strays], ledger.known
        return Sighting(
            observation,
            reading,
            cap_unread,
            alive=tuple(alive),
            known=tuple(one.id for one in known),
            adopted=tuple(one.id for one in known if one.id not in before and one.token not in tokens),
            settled=tuple(intent for intent in ledger.intents if self._is_settled(intent, reading)),
        )

    def _is_settled(self, intent: Intent, reading: Reading) -> bool:
        overdue = intent.launched is not None and reading.at - intent.at >= self._boot_deadline_s
        return overdue or not intent.unseen(reading.instances)

    def _exclude_offerings(self, seen: Glance) -> None:
        """Have the fleet set aside offerings whose machines are, or may be, taken away.

        It hears of each worker once, and once more when a risk becomes certain.
        """
        at_risk = {beat.worker_id: bool(beat.leaving) for beat in seen.workers if beat.leaving or beat.at_risk}
        new = [id_ for id_, leaving in at_risk.items() if self._at_risk.get(id_) is not leaving]
        self._at_risk = at_risk
        if new:
            self._fleet.set_aside(new)

    def _read_pools(self) -> tuple[dict[str, Depth | str], dict[str, Sequence[Offering]]]:
        """Return each pool's depth, or a clause that says what could not be read, and each pool's offerings."""
        depths: dict[str, Depth | str] = {}
        offerings: dict[str, Sequence[Offering]] = {}
        for pool, queue in self._queues.items():
            depths[pool] = _depth(queue)
            try:
                offerings[pool] = self._fleet.offerings(pool)
            except Unavailable as error:
                depths[pool] = f"what may be launched for {pool} cannot be read ({error})"
        return depths, offerings


def _depth(queue: Gauge) -> Depth | str:
    try:
        return queue.depth()
    except Unavailable as error:
        return f"the queue {queue.name} cannot be read ({error})"
