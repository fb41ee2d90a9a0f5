"""Other systems' policies: each is a rule for how many workers it wants, inside our own control loop.

They are judged charitably. All of them know μ from the start, and their targets come from the same drain goal L: a
worker may have μ·L images waiting for it. They get our launch intents and our replacement of lost and failed instances.
Their surplus workers drain as ours do: idle ones first, and none loses the images that it holds.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from controller.policy.policy import Decide, compute_terms, must_end
from controller.state.model import Memory, Observation, Plan, Policy, PoolMemory, PoolView, Stage
from core.fleet.decisions import Decision, Details, Rule


@dataclass(frozen=True, slots=True)
class Seen:
    """The input of a rule: counts of images and workers. `at` is in seconds since the first observation."""

    at: float
    visible: int
    in_flight: int
    capacity: int
    """Workers that are ready or booting."""
    in_service: int
    """Workers that are ready."""
    share: float
    """μ·L: the images that one worker clears within the drain goal."""
    boot_s: float


Want = Callable[[Seen], int]


def baseline(name: str) -> Decide:
    """Return a new policy by name, with its own memory: each run needs a new one. Raises KeyError."""
    return _framed(name, BASELINES[name]())


def _framed(name: str, want: Want) -> Decide:
    at = 0.0

    def decide(observation: Observation, memory: Memory, policy: Policy) -> tuple[Plan, Memory]:
        nonlocal at
        at += observation.elapsed_s
        billable = sum(worker.ours for view in observation.pools for worker in view.workers)
        plans = [_planned(name, want, view, at, billable, policy) for view in observation.pools]
        return Plan(tuple(plans), observation.paused), memory

    return decide


def _planned(name: str, want: Want, view: PoolView, at: float, billable: int, policy: Policy) -> Decision:
    terms = compute_terms(view, PoolMemory(), billable, policy)
    share = policy.throughput_prior * policy.drain_goal_s
    seen = Seen(at, view.depth.visible, view.depth.in_flight, terms.own, terms.ready, share, policy.boot_prior_s)
    wanted = terms.own if view.unread else max(0, min(want(seen), policy.max_workers))
    terms = replace(terms, wanted=wanted, needed=wanted, granted=wanted)
    launch = max(0, min(wanted - terms.own, policy.max_workers - billable))
    ready = sorted(
        (worker for worker in view.workers if worker.ours and worker.stage.ready),
        key=lambda worker: (worker.stage is Stage.BUSY, -worker.stage_s, worker.id),
    )
    drain = tuple(worker.id for worker in ready[: max(0, terms.own - wanted)])
    doomed = () if view.unread else tuple(worker for worker in view.workers if must_end(worker, policy))
    rule = Rule.LAUNCH if launch else Rule.SCALE_IN if drain else Rule.ENOUGH
    because = f"{name} wants {wanted} and {terms.own} are there"
    details = Details(because, ended=tuple(str(worker.stage) for worker in doomed))
    return Decision(view.pool, launch, drain, tuple(worker.id for worker in doomed), rule, terms, details)


def per_message() -> Want:
    """Want one worker for each message, 15 at most: the rule of the system that Tagfleet replaces."""
    return lambda seen: min(15, seen.visible + seen.in_flight)


@dataclass
class _Every:
    """True once in `period` seconds."""

    period: float
    next: float = 0.0

    def __call__(self, at: float) -> bool:
        if at < self.next:
            return False
        self.next = at + self.period
        return True


@dataclass
class Keda:
    """KEDA's aws-sqs-queue scaler: (visible + in flight) / queueLength, through a HorizontalPodAutoscaler.

    Documented defaults: pollingInterval 30 s (from zero), cooldownPeriod 300 s (to zero), and the HPA's: a sync every
    15 s, tolerance 0.1, at most doubling or 4 more in 15 s, and for scaling in the highest recommendation of 300 s.
    https://keda.sh/docs/latest/scalers/aws-sqs/ and …/reference/scaledobject-spec/,
    https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/
    """

    poll: _Every = field(default_factory=lambda: _Every(30.0))
    sync: _Every = field(default_factory=lambda: _Every(15.0))
    active_at: float = -math.inf
    wanted: int = 0
    recommended: deque[tuple[float, int]] = field(default_factory=deque)

    def __call__(self, seen: Seen) -> int:
        images = seen.visible + seen.in_flight
        if self.poll(seen.at):
            if images:
                self.active_at = seen.at
                self.wanted = max(1, self.wanted)
            elif seen.at - self.active_at >= 300.0:
                self.wanted = 0
                self.recommended.clear()
        if self.wanted and self.sync(seen.at):
            ratio = images / (seen.share * self.wanted)
            raw = self.wanted if abs(ratio - 1) <= 0.1 else max(1, math.ceil(images / seen.share))
            raw = min(raw, max(2 * self.wanted, self.wanted + 4))
            self.recommended.append((seen.at, raw))
            while self.recommended[0][0] < seen.at - 300.0:
                self.recommended.popleft()
            self.wanted = max(raw, max(count for _, count in self.recommended) if raw < self.wanted else 0)
        return self.wanted


@dataclass
class BacklogPerInstance:
    """EC2 Auto Scaling's target tracking on backlog per instance, visible / InService, with the target μ·L.

    One datapoint a minute; the alarm that target tracking makes scales out after 3 datapoints above the target and in
    after 15 below 90 % of it, both in proportion; instances that warm up count as capacity when scaling out, and
    nothing scales in meanwhile. With none in service a step policy on "backlog without capacity" starts one after two
    datapoints, as SageMaker's asynchronous endpoints do. Busy instances are protected from scale-in.
    https://docs.aws.amazon.com/autoscaling/ec2/userguide/as-using-sqs-queue.html, …/as-scaling-target-tracking.html,
    https://docs.aws.amazon.com/sagemaker/latest/dg/async-inference-autoscale.html
    """

    minute: _Every = field(default_factory=lambda: _Every(60.0))
    wanted: int = 0
    above: int = 0
    below: int = 0
    stuck: int = 0

    def __call__(self, seen: Seen) -> int:
        if not self.minute(seen.at):
            return self.wanted
        if not seen.in_service:
            self.above = self.below = 0
            self.stuck = self.stuck + 1 if seen.visible else 0
            if self.stuck >= 2 and not seen.capacity:
                self.wanted = 1
            elif not seen.visible and not seen.capacity:
                self.wanted = 0
            return self.wanted
        self.stuck = 0
        ratio = seen.visible / seen.in_service / seen.share
        self.above = self.above + 1 if ratio > 1 else 0
        self.below = self.below + 1 if ratio < 0.9 else 0
        if self.above >= 3:
            self.wanted = max(self.wanted, math.ceil(seen.in_service * ratio))
        elif self.below >= 15 and seen.capacity == seen.in_service:
            self.wanted = min(self.wanted, math.ceil(seen.capacity * ratio))
        return self.wanted


@dataclass
class Cortex:
    """Cortex's asynchronous APIs: the average of 60 s of in-flight requests (queued ones included) / target_in_flight.

    Every 10 s; at most ×1.5 or one more, at least ×0.75; 5 % tolerance; never above the lowest recommendation of the
    last minute nor below the highest of the last five. Here it may go to zero once nothing was in flight
    for a whole window.
    https://github.com/cortexlabs/cortex, docs/workloads/async/autoscaling.md and pkg/autoscaler
    """

    tick: _Every = field(default_factory=lambda: _Every(10.0))
    wanted: int = 0
    samples: deque[tuple[float, int]] = field(default_factory=deque)
    recommended: deque[tuple[float, int]] = field(default_factory=deque)

    def __call__(self, seen: Seen) -> int:
        if not self.tick(seen.at):
            return self.wanted
        self.samples.append((seen.at, seen.visible + seen.in_flight))
        while self.samples[0][0] <= seen.at - 60.0:
            self.samples.popleft()
        raw = sum(count for _, count in self.samples) / len(self.samples) / seen.share
        self.recommended.append((seen.at, self._limited(raw)))
        while self.recommended[0][0] <= seen.at - 300.0:
            self.recommended.popleft()
        lowest = min(count for at, count in self.recommended if at > seen.at - 60.0)
        highest = max(count for _, count in self.recommended)
        if self.recommended[-1][1] > self.wanted:
            self.wanted = max(self.wanted, lowest)
        else:
            self.wanted = min(self.wanted, highest)
        return self.wanted

    def _limited(self, raw: float) -> int:
        now = self.wanted
        if now and abs(raw / now - 1) <= 0.05:
            return now
        if raw > now:
            return min(math.ceil(raw), max(now + 1, math.ceil(now * 1.5)))
        return max(math.ceil(raw), math.ceil(now * 0.75) if raw else math.floor(now * 0.75))


BASELINES: dict[str, Callable[[], Want]] = {
    "per-message": per_message,
    "keda": Keda,
    "aws": BacklogPerInstance,
    "cortex": Cortex,
}
