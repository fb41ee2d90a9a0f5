"""Observe, decide, apply, record: the control loop, and the only part of the controller that changes anything.

A tick, in order:

1. `Ledger.lead`: only the controller that holds the lease goes on; the others stand by.
2. `Observer.observe` reads fleet, roster and queues and changes nothing. The forecaster adds the demand to expect.
3. `decide`, the policy, returns one decision for each pool. It is pure.
4. The ledger takes in what was observed and decided, and renews the lease. A controller that was replaced meanwhile
   stops here.
5. `_apply` ends, drains and launches workers. Each step tolerates the failure of the others.
6. The recorder logs and stores the decisions and the events. The controller goes on if that fails.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from config.schedule import Schedule
from config.settings import ControllerSettings
from controller.actions.launcher import Launcher
from controller.events.derive import Tick
from controller.events.record import ChangeLogger, Recorder
from controller.policy.forecast import Forecaster
from controller.policy.policy import Decide, decide
from controller.state.ledger import Fenced, Intent, Ledger
from controller.state.model import Memory, Observation, Plan, Policy, select_policy
from controller.state.observer import Observer, Sighting
from controller.state.tracker import StateTracker
from core import telemetry
from core.domain.ids import new_id
from core.errors import Unavailable
from core.fleet.decisions import DecisionRecord
from core.fleet.roster import Roster
from core.storage import layout
from core.storage.ports import Fleet, Gauge, ObjectStore
from core.util.clock import Clock

_RECORD_S = 10.0
_RECORD_TICKS = 12
"""An unchanged decision is stored again after this many seconds or ticks, whichever is longer."""


@dataclass(frozen=True)
class Ports:
    """The controller's connections to the world; `queues` by pool. Without a `roster` it uses the store's."""

    store: ObjectStore
    fleet: Fleet
    queues: Mapping[str, Gauge]
    roster: Roster | None = None


@dataclass(frozen=True)
class Hooks:
    """Callbacks of the controller. It calls all of them in the thread that ticks."""

    on_plan: Callable[[list[DecisionRecord]], None] = lambda _records: None
    """Called in a dry run, with the new and changed decisions."""
    on_tick: Callable[[Observation, Plan], None] = lambda _observation, _plan: None
    """Called after each tick that made a plan."""
    step: Callable[[str], None] = lambda _name: None
    """Called when a step of `run` begins, so that a watchdog can distinguish a long tick from one that hangs."""


@dataclass
class _Term:
    """The objects that a controller creates anew each time it becomes the leader."""

    observer: Observer
    forecaster: Forecaster
    tracker: StateTracker
    launcher: Launcher
    recorder: Recorder
    memory: Memory


class Controller:
    """One controller process. `tick` does everything once; `run` ticks until its event is set.

    A dry run changes nothing. `decide` is the policy; simulations compare others with ours. `schedules` maps pools to
    their schedules.
    """

    def __init__(
        self,
        ports: Ports,
        settings: ControllerSettings,
        *,
        schedules: Mapping[str, Schedule] | None = None,
        decide: Decide = decide,
        clock: Clock | None = None,
        hooks: Hooks | None = None,
        dry_run: bool = False,
    ) -> None:
        self._ports = ports
        self._roster = ports.roster or Roster(ports.store)
        self._settings = settings
        self._policy = select_policy(settings)
        self._schedules = schedules or {}
        self._decide = decide
        self._clock = clock or Clock()
        self._hooks = hooks or Hooks()
        self._dry_run = dry_run
        self._log = ChangeLogger()
        # The lease is renewed once a tick, and a standby sees that at its own next tick.
        lease_s = max(settings.lease_s, 2 * settings.tick_s)
        self._ledger = Ledger(ports.store, new_id("ctl"), lease_s, self._clock.monotonic)
        self._term = self._begin_term()

    @property
    def owner(self) -> str:
        """`ctl_…`, new for each process."""
        return self._ledger.owner

    def run(self, stop: threading.Event) -> None:
        """Tick until `stop` is set, then give the lease back. Workers are left as they are."""
        while not stop.is_set():
            began = self._clock.monotonic()
            self._hooks.step("tick")
            plan = self.tick()
            self._hooks.step("pause")
            left = self._settings.tick_s - (self._clock.monotonic() - began)
            self._pause(stop, max(left, self._settings.tick_s / 10), at_rest=plan is not None and _at_rest(plan))
        try:
            self._ledger.release()
        except (Fenced, Unavailable) as error:
            telemetry.logger().warning("could not give the lease back; it runs out by itself", error=str(error))

    def tick(self) -> Plan | None:
        """Observe, decide and apply once. Return the plan, or None if this controller stands by or cannot act."""
        try:
            if not self._lead():
                return None
            term, before = self._term, self._ledger.intents
            sighting = term.observer.observe(self._ledger, term.launcher.unanswered)
            self._log_cap(sighting)
            policy = self._policy.capped(sighting.observation.cap)
            observation = term.forecaster.add_forecast(sighting.observation, self._clock.wall(), term.memory, policy)
            plan, term.memory = self._decide(observation, term.memory, policy)
            if not self._dry_run:
                self._take_in(sighting)
                self._apply(plan, sighting, policy)
            self._hooks.on_tick(observation, plan)
            with self._log.tolerate("the decisions could not be stored"):
                self._record(observation, plan, sighting, before)
        except Fenced:
            self._log.changed("lease", "another controller took over: standing by")
            return None
        except Unavailable as error:
            self._log.changed("trouble", f"the controller cannot act until this is over: {error}")
            return None
        self._log.clear("trouble", "every part answers again")
        return plan

    # --- lead ---------------------------------------------------------------------------------

    def _lead(self) -> bool:
        if self._dry_run:
            self._ledger.follow()
            self._term.memory = self._term.memory or self._ledger.memory
            return True
        led = self._ledger.leads
        if not self._ledger.lead():
            self._log.changed("lease", f"standing by: {self._ledger.lease.owner} holds the lease")
            return False
        if not led:
            self._term = self._begin_term()
            self._log.changed("lease", f"leading as {self.owner}, epoch {self._ledger.lease.epoch}")
        return True

    def _begin_term(self) -> _Term:
        ports, settings = self._ports, self._settings
        tracker = StateTracker(ports.queues.keys(), self._policy)
        observer = Observer(
            ports.fleet,
            self._roster,
            ports.queues,
            tracker,
            self._clock,
            # A gap between our own observations (a suspended machine, say) counts as at most this.
            longest_s=max(2 * settings.tick_s, settings.lost_after_s / 3),
            boot_deadline_s=settings.boot_deadline_s,
        )
        return _Term(
            observer,
            Forecaster(ports.store, self._schedules, from_yesterday=settings.forecast),
            tracker,
            Launcher(ports.fleet, ports.queues, self._ledger, tracker, self._log, self._clock.wall),
            Recorder(self._roster, self._log, self._clock, max(_RECORD_S, _RECORD_TICKS * settings.tick_s)),
            self._ledger.memory,
        )

    # --- apply --------------------------------------------------------------------------------

    def _take_in(self, sighting: Sighting) -> None:
        """Record observation and decisions in the ledger. Raises Fenced, Unavailable, before anything is applied."""
        if sighting.adopted:
            telemetry.logger().info("adopted workers that the ledger does not know", instances=list(sighting.adopted))
        if sighting.reading:
            self._ledger.close(sighting.settled)
            self._ledger.know(sighting.known)
        self._ledger.remember(self._term.memory)
        self._ledger.renew()

    def _apply(self, plan: Plan, sighting: Sighting, policy: Policy) -> None:
        """Carry the plan out. The next tick plans again whatever failed."""
        doomed = [id_ for decision in plan.pools for id_ in decision.terminate]
        with self._log.tolerate("instances could not be ended"):
            if doomed:
                self._ports.fleet.terminate(doomed)
        with self._log.tolerate("workers could not be asked to drain"):
            for id_ in (id_ for decision in plan.pools for id_ in decision.drain):
                self._roster.request_drain(id_)
        with self._log.tolerate("workers could not be launched"):
            if sighting.reading:  # else others may have launched, or lowered the cap, since the last look
                self._term.launcher.apply(plan, sighting.alive, policy)
        with self._log.tolerate("heartbeats of gone workers could not be removed"):
            self._roster.forget(self._term.tracker.forgettable)

    # --- record -------------------------------------------------------------------------------

    def _record(self, observation: Observation, plan: Plan, sighting: Sighting, before: tuple[Intent, ...]) -> None:
        recorder = self._term.recorder
        fresh = recorder.record_decisions(plan, store=not self._dry_run)
        if self._dry_run:
            if fresh:
                self._hooks.on_plan(fresh)
            return
        if sighting.reading is None:
            return
        with self._log.tolerate("the arrivals could not be stored"):
            self._term.forecaster.save()
        recorder.record_events(
            Tick(
                sighting.reading,
                observation,
                plan,
                before,
                self._ledger.intents,
                sighting.adopted,
                self.owner,
                recorder.decision_ids,
            )
        )

    def _log_cap(self, sighting: Sighting) -> None:
        if sighting.reading is None:
            return
        if not sighting.cap_unread:
            self._log.clear("cap")
            return
        cap = sighting.observation.cap
        holds = f"stays {cap}" if cap is not None else "is controller.max_workers"
        self._log.changed(
            "cap",
            f"{layout.CAP} in the store cannot be read: the cap {holds}; `tagfleet controller cap N` sets it anew",
        )

    # --- wait ---------------------------------------------------------------------------------

    def _pause(self, stop: threading.Event, left: float, *, at_rest: bool) -> None:
        """Wait until the next tick is due. At rest, end the wait when the first image arrives."""
        step = self._settings.poll_s if at_rest else left
        while left > 0 and not stop.wait(min(left, step)):
            left -= step
            if left > 0 and at_rest and self._term.observer.anything_waits():
                return


def _at_rest(plan: Plan) -> bool:
    return not any(one.terms.billable or one.terms.supply or one.terms.outstanding for one in plan.pools)
