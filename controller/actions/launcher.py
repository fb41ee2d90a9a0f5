"""Launch workers so that a crash at any instant neither loses nor doubles one.

1. An intent in the ledger comes first, then the call to the fleet with the intent's token. The call is repeated with
   the same token until it is answered.
2. Where an offering has no capacity, the rest is intended again with the next offering, within the same tick.
3. A launch that stays unanswered is billed, in case it comes to be, but nothing waits for it. It is dropped when nobody
   needs it and what it may have launched would have been listed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from controller.events.record import ChangeLogger
from controller.policy.budget import count_affordable
from controller.state.ledger import Intent, Ledger
from controller.state.model import Plan, Policy
from controller.state.tracker import StateTracker
from core import telemetry
from core.domain.ids import new_id
from core.errors import Misconfigured, Unavailable
from core.storage.ports import Cause, Fleet, Instance, Offering

_KEEPS_FAILING = 2
"""Calls in a row without an answer after which nothing waits for a launch. A single answer may always be lost."""


class Launcher:
    """One for each time this controller leads. `pools` are the configured ones; `wall` returns Unix time.

    It logs whatever prevents a launch, and goes on with the others.
    """

    def __init__(
        self,
        fleet: Fleet,
        pools: Collection[str],
        ledger: Ledger,
        tracker: StateTracker,
        log: ChangeLogger,
        wall: Callable[[], float],
    ) -> None:
        self._fleet = fleet
        self._pools = pools
        self._ledger = ledger
        self._tracker = tracker
        self._changes = log
        self._wall = wall
        self._alive: Sequence[Instance] = ()
        self._failed: dict[str, int] = {}
        """Calls in a row without an answer, by token."""
        self._log = telemetry.logger()

    @property
    def unanswered(self) -> frozenset[str]:
        """The tokens of launches that keep failing.

        Each may have launched something without our seeing the answer, so it stays an intent and counts against the
        cap. It does not count as a booting worker, so another offering is tried beside it.
        """
        return frozenset(token for token, failed in self._failed.items() if failed >= _KEEPS_FAILING)

    def apply(self, plan: Plan, alive: Sequence[Instance], policy: Policy) -> None:
        """Write intents for what the plan launches, and carry out every open one. `alive` are instances not yet gone.

        Raises Fenced, and Unavailable where the ledger does not answer.
        """
        self._alive = alive
        self._intend([(pool.pool, pool.launch) for pool in plan.pools if pool.launch], policy)
        if not plan.paused:
            self._launch(plan, policy)

    def _intend(self, wanted: Sequence[tuple[str, int]], policy: Policy, tried: Collection[Offering] = ()) -> None:
        """Write an intent for each pool, with the best affordable offering. It is durable before anything is launched.

        Offerings that were `tried`, or whose last launch is unanswered, are skipped.
        """
        intents: list[Intent] = []
        unanswered = self.unanswered
        silent = {(one.pool, one.offering) for one in self._ledger.intents if one.token in unanswered}
        for pool, count in wanted:
            for offering in self._offerings(pool):
                fits = min(count, count_affordable(offering.price, self._remaining_budget(intents, policy), policy))
                if fits > 0 and offering not in tried and (pool, offering) not in silent:
                    intents.append(Intent(new_id("lau"), pool, fits, self._wall(), offering=offering))
                    break
        if intents:
            self._ledger.open(intents)

    def _offerings(self, pool: str) -> Sequence[Offering]:
        with self._changes.tolerate(f"what may be launched for {pool} cannot be read"):
            return self._fleet.offerings(pool)
        return ()

    def _remaining_budget(self, more: Sequence[Intent], policy: Policy) -> float:
        """The budget in $/h, less every instance, every launch that may come to be, and `more`."""
        intents = (*self._ledger.intents, *more)
        open_ = sum(intent.unseen(self._alive) * intent.offering.price for intent in intents)
        return policy.budget_per_hour - open_ - sum(instance.price for instance in self._alive)

    def _launch(self, plan: Plan, policy: Policy) -> None:
        """Carry out every open intent with its own token: new ones, and what a crash or a failed call left."""
        excess = any(pool.terms.billable > pool.terms.cap or pool.terms.over_budget for pool in plan.pools)
        tried: set[Offering] = set()
        called: set[str] = set()
        failures: dict[str, str] = {}
        short = {pool.pool for pool in plan.pools if pool.terms.wanted > pool.terms.supply}
        while intent := self._next(called):
            called.add(intent.token)
            if intent.token in self.unanswered and intent.pool not in short:
                self._give_up(intent, policy)
                continue
            if excess or intent.pool not in self._pools:
                self._log.warning("dropped a launch that the settings no longer allow", pool=intent.pool)
                self._ledger.close([intent])
                continue
            try:
                self._carry_out(intent, tried, policy)
            except Unavailable as error:
                failures[intent.pool] = str(error)
                self._count_failure(intent, error)
            else:
                self._failed.pop(intent.token, None)
        for pool in self._pools:
            failure = f"workers of {pool} could not be launched"
            if pool in failures:
                self._changes.changed(failure, f"{failure}: {failures[pool]}")
            else:
                self._changes.clear(failure)

    def _count_failure(self, intent: Intent, error: Unavailable) -> None:
        """Report a launch that keeps failing as refused: the next ones are then tried one by one, with the reason."""
        open_ = {one.token for one in self._ledger.intents}
        self._failed = {token: failed for token, failed in self._failed.items() if token in open_}
        self._failed[intent.token] = failed = self._failed.get(intent.token, 0) + 1
        if failed == _KEEPS_FAILING:
            self._tracker.add_refusal(intent.pool, str(error), lasting=isinstance(error, Misconfigured))

    def _give_up(self, intent: Intent, policy: Policy) -> None:
        """Drop a launch that nobody needs, once what it may have launched would have been listed."""
        if self._wall() - intent.at >= policy.boot_deadline_s:
            self._log.warning(
                "dropped a launch that was never answered", pool=intent.pool, offering=str(intent.offering)
            )
            self._ledger.close([intent])

    def _next(self, called: Collection[str]) -> Intent | None:
        open_ = (intent for intent in self._ledger.intents if intent.launched is None)
        return next((intent for intent in open_ if intent.token not in called), None)

    def _carry_out(self, intent: Intent, tried: set[Offering], policy: Policy) -> None:
        """Call the fleet. What an offering has no capacity for is intended again with the next one."""
        launch = self._fleet.launch(intent.pool, intent.count, intent.token, intent.offering)
        self._ledger.answer(intent, len(launch.instances))
        if not launch.shortfall:
            return
        told = {"pool": intent.pool, "by": launch.shortfall, "offering": str(intent.offering)}
        self._log.warning("launch fell short", reason=launch.reason, **told)
        if launch.cause is Cause.CAPACITY:
            tried.add(intent.offering)
            self._intend([(intent.pool, launch.shortfall)], policy, tried)
        else:
            self._tracker.add_refusal(intent.pool, launch.reason, lasting=launch.cause is Cause.LASTING)
