"""Observe, decide, apply. The only part of the controller that changes anything, and only while it holds the lease."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from config.schedule import Schedule
from config.settings import ControllerSettings
from controller.actions.launcher import Launcher
from controller.events.derive import Scene
from controller.events.record import Minutes
from controller.events.voice import Voice
from controller.policy.forecast import Forecaster
from controller.policy.policy import Decide, decide
from controller.state.ledger import Book, Fenced, Intent, Ledger
from controller.state.model import Memory, Observation, Plan, select_policy
from controller.state.tracker import Reading, StateTracker
from core import telemetry
from core.domain.ids import new_id
from core.errors import Unavailable
from core.fleet.decisions import DecisionRecord
from core.fleet.roster import Glance, Roster
from core.storage import layout
from core.storage.ports import Depth, Fleet, Gauge, Instance, InstanceState, ObjectStore, Offering

_RECORD_S = 10.0
_RECORD_TICKS = 12
"""A decision that stays the same is written anew after this, whichever is longer."""


@dataclass(frozen=True)
class Ports:
    """What the controller stands on; `queues` by pool."""

    store: ObjectStore
    fleet: Fleet
    queues: Mapping[str, Gauge]


class Controller:
    """One controller process. `tick` does everything once; `run` ticks until it is told to stop.

    `clock` is monotonic, `wall` tells Unix time; a dry run calls nothing that changes anything. `decide` is another
    policy than ours where one is to be compared with it. `schedules` are of the pools that have one.
    """

    def __init__(
        self,
        ports: Ports,
        settings: ControllerSettings,
        *,
        dry_run: bool = False,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        on_plan: Callable[[list[DecisionRecord]], None] = lambda _records: None,
        on_tick: Callable[[Observation, Plan], None] = lambda _observation, _plan: None,
        roster: Roster | None = None,
        decide: Decide = decide,
        schedules: Mapping[str, Schedule] | None = None,
        step: Callable[[str], None] = lambda _name: None,
    ) -> None:
        """`step` is told what begins now, so that others can tell a long tick from one that hangs."""
        self._step = step
        self.owner = new_id("ctl")
        self._ports = ports
        self._roster = roster or Roster(ports.store)
        self._decide = decide
        self._schedules, self._forecasts = schedules or {}, settings.forecast
        self._tick_s, self._peek_s = settings.tick_s, settings.poll_s
        self._record_s = max(_RECORD_S, _RECORD_TICKS * settings.tick_s)
        self._policy = self._own_policy = select_policy(settings)
        self._dry_run = dry_run
        self._clock = clock
        self._wall = wall
        self._on_plan = on_plan
        self._on_tick = on_tick
        self._memory: Memory = {}
        # It is renewed once a tick, and a standby sees that at its own next tick.
        self._ledger = Ledger(ports.store, self.owner, max(settings.lease_s, 2 * settings.tick_s), clock)
        # A gap in our own tracker, a suspended machine say, counts as this much at most.
        self._longest_s = max(2 * settings.tick_s, settings.lost_after_s / 3)
        self._log = telemetry.logger()
        self._voice = Voice()
        self._take_office()

    def run(self, stop: threading.Event) -> None:
        """Tick until `stop` is set, then give the lease back. Workers are left as they are."""
        while not stop.is_set():
            began = self._clock()
            self._step("tick")
            plan = self.tick()
            self._step("pause")
            left = self._tick_s - (self._clock() - began)
            self._pause(stop, max(left, self._tick_s / 10), at_rest=plan is not None and _at_rest(plan))
        try:
            self._ledger.release()
        except (Fenced, Unavailable) as error:
            self._log.warning("the lease could not be given back, it runs out by itself", error=str(error))

    def tick(self) -> Plan | None:
        """Returns what was planned, or None where this controller stands by or cannot act."""
        try:
            if not self._lead():
                return None
            observation = self._observe()
            self._policy = self._own_policy.capped(observation.cap)
            observation = self._forecaster.add_forecast(observation, self._wall(), self._memory, self._policy)
            plan, memory = self._decide(observation, self._memory, self._policy)
            self._memory = memory
            if not self._dry_run:
                self._ledger.book = replace(self._ledger.book, memory=dict(memory))
                self._ledger.keep()  # who was replaced while it observed and decided applies nothing
                self._apply(plan)
            self._on_tick(observation, plan)
            with self._voice.bearing("what was decided could not be written down"):
                self._tell(observation, plan)
        except Fenced:
            self._voice.say("lease", "another controller took over: standing by")
            return None
        except Unavailable as error:
            self._voice.say("trouble", f"nothing is done while this lasts: {error}")
            return None
        self._voice.settled("trouble", "every part answers again")
        return plan

    # --- lead ---------------------------------------------------------------------------------

    def _lead(self) -> bool:
        if self._dry_run:
            found = self._ledger.peek()
            self._ledger.book = found[0] if found else Book()
            self._memory = self._memory or self._ledger.book.memory
            return True
        led = self._ledger.leads
        if not self._ledger.lead():
            self._voice.say("lease", f"standing by: {self._ledger.book.lease.owner} holds the lease")
            return False
        if not led:
            self._take_office()
            self._voice.say("lease", f"leading as {self.owner}, epoch {self._ledger.book.lease.epoch}")
        return True

    def _take_office(self) -> None:
        self._tracker = StateTracker(self._ports.queues.keys(), self._policy)
        self._memory = self._ledger.book.memory
        self._alive: list[Instance] = []
        self._wanted_back: dict[str, bool] = {}
        self._read_at = self._clock()
        self._forecaster = Forecaster(self._ports.store, self._schedules, from_yesterday=self._forecasts)
        self._launcher = Launcher(
            self._ports.fleet, self._ports.queues, self._ledger, self._tracker, self._voice, self._wall
        )
        self._minutes = Minutes(self._roster, self._voice, self._record_s, clock=self._clock, wall=self._wall)
        self._look: tuple[Reading, Sequence[Intent], Sequence[str]] | None = None

    # --- observe ------------------------------------------------------------------------------

    def _observe(self) -> Observation:
        """A fleet or a roster that does not answer blinds all pools; a queue, or a pool's offerings, that pool."""
        now, self._look = self._clock(), None
        try:
            instances, seen = self._ports.fleet.instances(), self._roster.glance()
        except Unavailable as error:
            return self._tracker.repeat_unread(f"the fleet cannot be read ({error})")
        self._say_of_cap(seen)
        self._set_aside(seen)
        depths, offerings = self._pools()
        reading = Reading(
            at=self._wall(),
            instances=instances,
            heartbeats=seen.workers,
            drain_requests=seen.drain_requests,
            depths=depths,
            paused=seen.paused,
            cap=seen.cap,
            offerings=offerings,
        )
        elapsed, self._read_at = min(now - self._read_at, self._longest_s), now
        book = self._ledger.book
        observation = self._tracker.observe(
            reading, book.intents, elapsed, frozenset(book.known), self._launcher.unanswered
        )
        self._look = reading, book.intents, self._settle(reading)
        return observation

    def _set_aside(self, seen: Glance) -> None:
        """Launch no replacement from where a worker's machine is being taken away, or may be; said once of each."""
        wanted_back = {beat.worker_id: bool(beat.leaving) for beat in seen.workers if beat.leaving or beat.at_risk}
        news = [id_ for id_, leaving in wanted_back.items() if self._wanted_back.get(id_) is not leaving]
        self._wanted_back = wanted_back
        if news:
            self._ports.fleet.set_aside(news)

    def _pools(self) -> tuple[dict[str, Depth | str], dict[str, list[Offering]]]:
        """Each pool's depth, or why it cannot be told what the pool needs, and its offerings."""
        depths: dict[str, Depth | str] = {}
        offerings: dict[str, list[Offering]] = {}
        for pool, queue in self._ports.queues.items():
            depths[pool] = _depth(queue)
            try:
                offerings[pool] = self._ports.fleet.offerings(pool)
            except Unavailable as error:
                depths[pool] = f"what may be launched for {pool} cannot be read ({error})"
        return depths, offerings

    def _say_of_cap(self, seen: Glance) -> None:
        if not seen.cap_unread:
            self._voice.settled("cap")
            return
        holds = f"stays {seen.cap}" if seen.cap is not None else "is controller.max_workers"
        self._voice.say(
            "cap",
            f"{layout.CAP} in the store cannot be read: the cap {holds}; `tagfleet controller cap N` sets it anew",
        )

    def _settle(self, reading: Reading) -> list[str]:
        """Close the intents whose workers are all listed (or never will be); returns which orphans are adopted."""
        book = self._ledger.book
        tokens = {intent.token for intent in book.intents}
        self._alive = [instance for instance in reading.instances if instance.state is not InstanceState.GONE]
        alive = [one for one in self._alive if one.id not in self._tracker.strays]
        known = frozenset(book.known)
        adopted = [one.id for one in alive if one.id not in known and one.token not in tokens]
        if adopted and not self._dry_run:
            self._log.info("adopted workers that the ledger does not know", instances=adopted)
        still_open = tuple(
            intent
            for intent in book.intents
            if intent.unseen(reading.instances)
            and (intent.launched is None or reading.at - intent.at < self._policy.boot_deadline_s)
        )
        self._ledger.book = replace(book, intents=still_open, known=tuple(one.id for one in alive))
        return adopted

    # --- apply --------------------------------------------------------------------------------

    def _apply(self, plan: Plan) -> None:
        """Each step bears the failure of the others; what failed is planned again at the next tick."""
        doomed = [id_ for pool in plan.pools for id_ in pool.terminate]
        with self._voice.bearing("instances could not be ended"):
            if doomed:
                self._ports.fleet.terminate(doomed)
        with self._voice.bearing("workers could not be asked to drain"):
            for id_ in (id_ for pool in plan.pools for id_ in pool.drain):
                self._roster.request_drain(id_)
        with self._voice.bearing("workers could not be launched"):
            if self._look:  # others may have launched, or lowered the cap, since the fleet was seen last
                self._launcher.apply(plan, self._alive, self._policy)
        with self._voice.bearing("workers that are gone could not be forgotten"):
            self._roster.forget(self._tracker.forgettable)

    # --- tell ---------------------------------------------------------------------------------

    def _tell(self, observation: Observation, plan: Plan) -> None:
        written = self._minutes.note(plan, keep=not self._dry_run)
        if self._dry_run:
            if written:
                self._on_plan(written)
            return
        if self._look is None:
            return
        with self._voice.bearing("the arrivals could not be kept"):
            self._forecaster.save()
        reading, before, adopted = self._look
        after, decisions = self._ledger.book.intents, self._minutes.decisions
        self._minutes.tell(Scene(reading, observation, plan, before, after, adopted, self.owner, decisions))

    # --- wait ---------------------------------------------------------------------------------

    def _pause(self, stop: threading.Event, left: float, *, at_rest: bool) -> None:
        """Until the next tick is due; a fleet at rest looks at its queues meanwhile: a first image need not wait."""
        while left > 0 and not stop.wait(min(left, self._peek_s) if at_rest else left):
            left -= self._peek_s if at_rest else left
            if left > 0 and at_rest and any(_waits(queue) for queue in self._ports.queues.values()):
                return


def _depth(queue: Gauge) -> Depth | str:
    try:
        return queue.depth()
    except Unavailable as error:
        return f"the queue {queue.name} cannot be read ({error})"


def _waits(queue: Gauge) -> bool:
    depth = _depth(queue)
    return isinstance(depth, Depth) and depth.outstanding > 0


def _at_rest(plan: Plan) -> bool:
    return not any(pool.terms.billable or pool.terms.supply or pool.terms.outstanding for pool in plan.pools)
