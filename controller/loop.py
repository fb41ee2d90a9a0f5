"""Observe, decide, apply. The only part of the controller that changes anything, and only while it holds the lease."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

from config.settings import ControllerSettings
from controller.history import History
from controller.ledger import Book, Fenced, Intent, Ledger
from controller.model import Memory, Observation, Plan, policy_of
from controller.policy import Decide, decide
from controller.watch import Reading, Watch
from core import telemetry
from core.errors import Unavailable
from core.ids import new_id
from core.ports import Depth, Fleet, InstanceState, ObjectStore, Queue
from core.roster import DecisionRecord, Roster

PEEK_S = 0.25
"""How often the queues of a fleet at rest are looked at."""
_RECORD_S = 10.0
"""A decision that stays the same is written anew after this."""


@dataclass(frozen=True)
class Ports:
    """What the controller stands on; `queues` by pool."""

    store: ObjectStore
    fleet: Fleet
    queues: Mapping[str, Queue]


class Controller:
    """One controller process. `tick` does everything once; `run` ticks until it is told to stop.

    `clock` is monotonic, `wall` tells Unix time; a dry run calls nothing that changes anything. `decide` is another
    policy than ours where one is to be compared with it.
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
        roster: Roster | None = None,
        decide: Decide = decide,
    ) -> None:
        self.owner = new_id("ctl")
        self._ports = ports
        self._roster = roster or Roster(ports.store)
        self._decide = decide
        self._tick_s = settings.tick_s
        self._policy = policy_of(settings)
        self._dry_run = dry_run
        self._clock = clock
        self._wall = wall
        self._on_plan = on_plan
        self._memory: Memory = {}
        # It is renewed once a tick at most, and must outlive a few of them.
        self._ledger = Ledger(ports.store, self.owner, max(settings.lease_s, 3 * settings.tick_s), clock)
        # A gap in our own watch, a suspended machine say, counts as this much at most.
        self._longest_s = max(2 * settings.tick_s, settings.lost_after_s / 3)
        self._log = telemetry.logger()
        self._said: dict[str, str] = {}
        self._take_office()

    def run(self, stop: threading.Event) -> None:
        """Tick until `stop` is set, then give the lease back. Workers are left as they are."""
        while not stop.is_set():
            plan = self.tick()
            self._pause(stop, at_rest=plan is not None and _at_rest(plan))
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
            plan, memory = self._decide(observation, self._memory, self._policy)
            self._memory = memory
            if not self._dry_run:
                self._ledger.book = replace(self._ledger.book, memory=dict(memory))
                self._apply(plan)
            self._report(plan)
        except Fenced:
            self._say("lease", "another controller took over: standing by")
            return None
        except Unavailable as error:
            self._say("trouble", f"nothing is done while this lasts: {error}")
            return None
        if self._said.pop("trouble", None):
            self._log.info("every part answers again")
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
            self._say("lease", f"standing by: {self._ledger.book.lease.owner} holds the lease")
            return False
        if not led:
            self._take_office()
            self._say("lease", f"leading as {self.owner}, epoch {self._ledger.book.lease.epoch}")
        return True

    def _take_office(self) -> None:
        self._watch = Watch(self._ports.queues.keys(), self._policy)
        self._memory = self._ledger.book.memory
        self._read_at = self._clock()
        self._records: dict[str, tuple[DecisionRecord, float]] = {}
        self._history = History(self._roster)

    # --- observe ------------------------------------------------------------------------------

    def _observe(self) -> Observation:
        """A fleet or a roster that does not answer blinds all pools, a queue its own."""
        now = self._clock()
        try:
            reading = Reading(
                at=self._wall(),
                instances=self._ports.fleet.instances(),
                heartbeats=self._roster.workers(),
                drain_wishes=self._roster.drain_wishes(),
                depths={pool: _depth(queue) for pool, queue in self._ports.queues.items()},
                paused=self._roster.paused(),
            )
        except Unavailable as error:
            return self._watch.blind(f"the fleet cannot be read ({error})")
        elapsed, self._read_at = min(now - self._read_at, self._longest_s), now
        observation = self._watch.observe(reading, self._ledger.book.intents, elapsed)
        self._settle(reading)
        return observation

    def _settle(self, reading: Reading) -> None:
        """Close the intents whose workers are all listed (or never will be), and adopt orphans."""
        book = self._ledger.book
        tokens = {intent.token for intent in book.intents}
        alive = [instance for instance in reading.instances if instance.state is not InstanceState.GONE]
        known = frozenset(book.known)
        orphans = [one.id for one in alive if one.id not in known and one.token not in tokens]
        if orphans and not self._dry_run:
            self._log.info("adopted instances that the ledger does not know", instances=orphans)
        still_open = tuple(
            intent
            for intent in book.intents
            if intent.unseen(reading.instances)
            and (intent.launched is None or reading.at - intent.at < self._policy.boot_deadline_s)
        )
        self._ledger.book = replace(book, intents=still_open, known=tuple(one.id for one in alive))

    # --- apply --------------------------------------------------------------------------------

    def _apply(self, plan: Plan) -> None:
        """Each step bears the failure of the others; what failed is planned again at the next tick."""
        doomed = [id_ for pool in plan.pools for id_ in pool.terminate]
        with self._bearing("instances could not be ended"):
            if doomed:
                self._ports.fleet.terminate(doomed)
        with self._bearing("workers could not be asked to drain"):
            for id_ in (id_ for pool in plan.pools for id_ in pool.drain):
                self._roster.wish_drain(id_)
        with self._bearing("workers could not be launched"):
            self._intend(plan)
            if not plan.paused:
                self._launch(plan)
        with self._bearing("workers that are gone could not be forgotten"):
            self._roster.forget(self._watch.forgettable)

    def _intend(self, plan: Plan) -> None:
        """The intents are durable before anything is launched."""
        wanted = [pool for pool in plan.pools if pool.launch]
        if wanted:
            intents = tuple(Intent(new_id("lau"), pool.pool, pool.launch, self._wall()) for pool in wanted)
            self._ledger.save(replace(self._ledger.book, intents=self._ledger.book.intents + intents))

    def _launch(self, plan: Plan) -> None:
        """Carry out every open intent, new ones and those that a crash or a failed call left, with its own token."""
        over_cap = any(pool.terms.billable > pool.terms.cap for pool in plan.pools)
        for intent in self._ledger.book.intents:
            if intent.launched is not None:
                continue
            if over_cap or intent.pool not in self._ports.queues:
                self._log.warning("dropped a launch that the settings no longer allow", pool=intent.pool)
                self._replace(intent, None)
                continue
            launch = self._ports.fleet.launch(intent.pool, intent.count, intent.token)
            self._replace(intent, replace(intent, launched=len(launch.instances)))
            if launch.shortfall:
                self._watch.refused(intent.pool, launch.reason)
                self._log.warning("launch fell short", pool=intent.pool, by=launch.shortfall, reason=launch.reason)

    def _replace(self, old: Intent, new: Intent | None) -> None:
        book = self._ledger.book
        others = tuple(intent for intent in book.intents if intent is not old)
        self._ledger.book = replace(book, intents=others if new is None else (*others, new))

    # --- tell ---------------------------------------------------------------------------------

    def _report(self, plan: Plan) -> None:
        """Log a decision when it changes; write it down when its words change too, or every so often."""
        now, records, written = self._clock(), [], []
        for pool in plan.pools:
            self._say(f"pool {pool.pool}", pool.reason, key=f"{pool.rule} {pool.action}", pool=pool.pool)
            record = DecisionRecord(
                at=self._wall(), pool=pool.pool, action=pool.action, reason=pool.reason, terms=pool.numbers
            )
            records.append(record)
            before, at = self._records.get(pool.pool, (None, 0.0))
            if (
                before is None
                or (before.action, before.reason) != (record.action, record.reason)
                or now - at > _RECORD_S
            ):
                self._records[pool.pool] = (record, now)
                written.append(record)
        if not self._dry_run:
            for record in written:
                self._roster.record_decision(record)
            self._history.note(records)
        elif written:
            self._on_plan(written)

    def _say(self, subject: str, text: str, *, key: str = "", **context: str) -> None:
        """One line a change: nothing while `key`, or without one the text, stays the same."""
        if self._said.get(subject) != (key or text):
            self._said[subject] = key or text
            self._log.info(text, **context)

    @contextmanager
    def _bearing(self, failure: str) -> Iterator[None]:
        try:
            yield
        except Unavailable as error:
            self._say(failure, f"{failure}: {error}")
        else:
            self._said.pop(failure, None)

    # --- wait ---------------------------------------------------------------------------------

    def _pause(self, stop: threading.Event, *, at_rest: bool) -> None:
        """One tick; a fleet at rest looks at its queues meanwhile, so that a first image need not wait for the next."""
        left = self._tick_s
        while left > 0 and not stop.wait(min(left, PEEK_S) if at_rest else left):
            left -= PEEK_S if at_rest else left
            if at_rest and any(_waits(queue) for queue in self._ports.queues.values()):
                return


def _depth(queue: Queue) -> Depth | str:
    try:
        return queue.depth()
    except Unavailable as error:
        return f"the queue {queue.name} cannot be read ({error})"


def _waits(queue: Queue) -> bool:
    depth = _depth(queue)
    return isinstance(depth, Depth) and depth.outstanding > 0


def _at_rest(plan: Plan) -> bool:
    return not any(pool.terms.billable or pool.terms.supply or pool.terms.outstanding for pool in plan.pools)
