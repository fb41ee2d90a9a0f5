"""Who started or ended what, and why: from scene to scene, and through the whole loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from controller.events.derive import EventDeriver, Tick
from controller.events.record import EVENTS
from controller.policy.policy import compute_terms
from controller.simulation.world import World
from controller.state.ledger import Intent
from controller.state.model import Observation, Plan, Policy, PoolMemory, PoolView, Stage, Worker
from controller.state.tracker import Reading
from core.fleet.decisions import Decision, Details, Rule
from core.fleet.events import FleetEvent
from core.fleet.roster import Heartbeat, WorkerState
from core.storage.ports import Depth, Instance, InstanceState
from tests.unit.controller.test_loop import live

SPOT = "g4dn.xlarge spot in us-east-1b"
Told = tuple[str, str, str]


def beat(state: WorkerState = WorkerState.IDLE, **said: str) -> Heartbeat:
    return Heartbeat(
        worker_id="w", pool="p", tagger="t", state=state, seq=1, at=0.0, state_since=0.0, started_at=0.0, **said
    )


@dataclass
class Story:
    """One worker `w` of pool `p`, look by look."""

    policy: Policy
    kept: list[FleetEvent] = field(default_factory=list)
    deriver: EventDeriver = field(default_factory=EventDeriver)
    machine: str = "g4dn.xlarge"
    how: str = ""
    """How it ended, as its fleet says."""
    open: tuple[Intent, ...] = ()
    looks: int = 0

    def look(
        self,
        stage: Stage | None = None,
        *,
        state: InstanceState | None = InstanceState.RUNNING,
        heard: Heartbeat | None = None,
        wished: bool = False,
        adopted: bool = False,
        launch: int = 0,
        drain: bool = False,
        end: bool = False,
    ) -> list[Told]:
        """What is told of a look at a worker at `stage`, or one that is at work no more; `launch` opens its intent."""
        self.looks += 1
        market = {"type": self.machine, "zone": "us-east-1b", "market": "spot"}
        instances = [] if state is None else [Instance("w", "p", state, 0.0, "lau", ended=self.how, **market)]
        workers = () if stage is None else (Worker("w", stage, age_s=31.0),)
        view = PoolView("p", Depth(0, 0, 0, 0, 0.0), workers)
        reading = Reading(float(self.looks), instances, [heard] if heard else [], {"w"} if wished else (), {})
        drained, ended = (("w",) if one else () for one in (drain, end))
        terms = compute_terms(view, PoolMemory(), 0, self.policy)
        plan = Decision("p", launch, drained, ended, Rule.REST, terms, Details("so it is", ended=("lost",) * end))
        before = self.open
        self.open = (*self.open, *[Intent("lau", "p", launch, 0.0)] * bool(launch))
        tick = Tick(
            reading,
            Observation(1.0, (view,)),
            Plan((plan,)),
            before,
            self.open,
            ["w"] if adopted else [],
            "ctl_1",
            {"p": f"dec_{self.looks}"},
        )
        told = self.deriver.derive(tick)
        self.kept += told
        return [(one.kind, " ".join(filter(None, (one.by, one.decision))), one.reason) for one in told]

    def up(self) -> Story:
        self.look(state=None, launch=1)
        self.look(Stage.BOOTING)
        self.look(Stage.IDLE)
        return self

    def succeed(self) -> None:
        """Another controller takes over."""
        self.deriver, self.open = EventDeriver(self.kept), ()


@pytest.fixture
def story(policy: Policy) -> Story:
    return Story(policy)


def test_a_life_from_launch_to_end(story: Story) -> None:
    assert story.look(state=None, launch=1) == []
    assert story.look(Stage.PENDING) == [("launched", "controller dec_1", "so it is: launch 1")]
    assert story.look(Stage.BOOTING) == []
    assert story.look(Stage.IDLE) == [("ready", "itself", "31.0 s after its launch")]
    assert story.look(Stage.BUSY) == story.look(Stage.IDLE) == []
    assert story.look(Stage.IDLE, drain=True) == [("asked_to_drain", "controller dec_7", "so it is: drain 1")]
    assert story.look(Stage.DRAINING, wished=True) == []
    drained = ("drained", "itself", "it has finished what it held")
    assert story.look(Stage.DRAINED, end=True) == [drained, ("ended", "controller dec_9", drained[2])]
    assert story.look(Stage.TERMINATING, end=True) == []
    assert story.look(state=InstanceState.GONE) == story.look(state=None) == []
    [first, *_] = story.kept
    assert (first.at, first.pool, first.worker_id, first.offering, first.controller) == (2.0, "p", "w", SPOT, "ctl_1")


BROKEN = beat(WorkerState.DRAINED, ended_by="RuntimeError: out of order")
LAST_LOOKS: dict[str, tuple[Sequence[tuple[Stage | None, dict]], Told]] = {
    "an operator": (
        [(Stage.DRAINING, {"wished": True})],
        ("asked_to_drain", "operator", "an operator asked for it"),
    ),
    "on its machine": ([(Stage.DRAINING, {})], ("asked_to_drain", "itself", "it was stopped on its machine")),
    "spot notice": (
        [(Stage.INTERRUPTED, {"heard": beat(leaving="a spot notice")})],
        ("interrupted", "owner", "a spot notice"),
    ),
    "taken away": (
        [(Stage.INTERRUPTED, {"heard": beat(leaving="a spot notice")}), (None, {"state": InstanceState.GONE})],
        ("gone", "owner", "its machine was taken away"),
    ),
    "silent": ([(Stage.LOST, {})], ("lost", "itself", "it gives no sign of life")),
    "stopped": (
        [(Stage.LOST, {"state": InstanceState.STOPPED})],
        ("lost", "owner", "its machine was stopped"),
    ),
    "ended as lost": ([(Stage.LOST, {"end": True})], ("ended", "controller dec_4", "it gives no sign of life")),
    "overdue": (
        [(Stage.DRAINING, {"end": True})],
        ("ended", "controller dec_4", "its time to drain is over"),
    ),
    "gone at once": (
        [(None, {"state": InstanceState.GONE})],
        ("gone", "owner", "its machine was ended, but not by a controller"),
    ),
    "asked and ended between two looks": (
        [(None, {"state": InstanceState.GONE, "heard": beat(WorkerState.DRAINED), "wished": True})],
        ("drained", "itself", "it has finished what it held"),
    ),
    "broken in its work": (
        [(Stage.DRAINED, {"heard": BROKEN})],
        ("drained", "itself", "it ended in the middle of work: RuntimeError: out of order"),
    ),
    "ended as broken": (
        [(Stage.DRAINED, {"heard": BROKEN, "end": True})],
        ("ended", "controller dec_4", "it ended in the middle of work: RuntimeError: out of order"),
    ),
    "drained unseen": (
        [(None, {"state": InstanceState.GONE, "heard": beat(WorkerState.DRAINED)})],
        ("drained", "itself", "it has finished what it held"),
    ),
    "listed no more": (
        [(None, {"state": None})] * 3,
        ("gone", "owner", "its machine was ended, but not by a controller"),
    ),
}


@pytest.mark.parametrize("name", LAST_LOOKS)
def test_what_becomes_of_a_ready_worker(story: Story, name: str) -> None:
    looks, last = LAST_LOOKS[name]
    story.up()
    told: list[Told] = []
    for stage, seen in looks:
        assert not told or told[-1] != last, "not before"
        told += story.look(stage, **seen)
    assert told[-1] == last
    stage, seen = looks[-1]
    assert story.look(stage, **seen) == [], "once is enough"


def test_a_process_that_dies_ended_itself(story: Story) -> None:
    story.machine = "process"
    story.up()
    [(kind, by, why)] = story.look(state=InstanceState.GONE)
    assert (kind, by, why) == ("gone", "itself", "its process ended, but not by a controller")
    assert story.kept[-1].offering == "process"


@pytest.mark.parametrize(
    ("up", "told"),
    [
        (False, ("boot_failed", "itself", "it ended before it was ready")),
        (True, ("gone", "owner", "its machine was ended")),
    ],
)
def test_how_one_ended_is_told_where_its_fleet_knows(story: Story, up: bool, told: tuple[str, str, str]) -> None:
    story.how = "killed by SIGKILL; probably out of memory"
    if up:
        story.up()
    else:
        story.look(Stage.BOOTING)
    [(kind, by, why)] = story.look(state=InstanceState.GONE)
    assert (kind, by) == told[:2]
    assert why.startswith(told[2])
    assert why.endswith(": killed by SIGKILL; probably out of memory")


def test_a_list_that_lags_buries_nobody(story: Story) -> None:
    story.up()
    assert story.look(state=None) == story.look(state=None) == story.look(Stage.IDLE) == []
    assert story.look(state=None) == story.look(state=None) == []


@pytest.mark.parametrize(
    ("stage", "seen", "why"),
    [
        (Stage.BOOT_FAILED, {}, "it was not ready 31 s after its launch, it said: no weights"),
        (None, {"state": InstanceState.GONE}, "it ended before it was ready, it said: no weights"),
    ],
)
def test_a_boot_that_failed_says_why(story: Story, stage: Stage | None, seen: dict, why: str) -> None:
    story.look(state=None, launch=1)
    story.look(Stage.BOOTING)
    heard = beat(WorkerState.STARTING, notice="no weights")
    assert story.look(stage, heard=heard, **seen) == [("boot_failed", "itself", why)]
    assert story.look(state=InstanceState.GONE) == []


def test_one_that_is_gone_before_it_was_seen_was_launched_all_the_same(story: Story) -> None:
    story.look(state=None, launch=1)
    told = story.look(state=InstanceState.GONE)
    assert [kind for kind, _, _ in told] == ["launched", "boot_failed"]


def test_orphans_and_adopted_ones(story: Story) -> None:
    no_sign = "no launch of it is on record, and it gives no sign of life"
    assert story.look(Stage.ORPHAN) == [("orphan", "itself", no_sign)]
    adopted = ("adopted", "controller", "it runs, but no launch of it is on record")
    assert story.look(Stage.IDLE, adopted=True)[0] == adopted
    assert story.look(Stage.IDLE) == []


def test_a_successor_tells_nothing_twice_and_goes_on(story: Story) -> None:
    story.up()
    story.succeed()
    assert story.look(Stage.IDLE) == []
    story.look(Stage.IDLE, drain=True)
    story.succeed()
    assert story.look(Stage.DRAINING, wished=True) == [], "no operator asked"
    assert [one.kind for one in story.kept] == ["launched", "ready", "asked_to_drain"]


def test_a_successor_carries_out_what_the_one_before_decided(story: Story) -> None:
    story.look(state=None, launch=1)
    inherited = story.open
    story.succeed()
    story.open = inherited
    assert story.look(Stage.BOOTING) == [("launched", "controller", "the previous controller had decided it")]


def test_what_is_older_than_the_changes_is_taken_as_it_is(story: Story) -> None:
    assert story.look(Stage.DRAINING, wished=True) == []
    assert story.look(Stage.DRAINED)[0][0] == "drained"


# --- through the loop -------------------------------------------------------------------------


def told(world: World) -> list[tuple[str, str]]:
    with world.outside():
        return [(one.kind, one.by) for one in world.roster.events()]


def test_a_controller_keeps_the_changes(world: World) -> None:
    controller = world.controller()
    world.queue.fill(30)
    live(world, controller, 30)
    launched, _, asked, *_ = changes = world.roster.events()
    assert [one.kind for one in changes] == ["launched", "ready", "asked_to_drain", "drained", "ended"]
    assert launched.reason.endswith(": launch 1")
    assert launched.controller == controller.owner
    assert asked.reason.endswith(": drain 1")
    decided = {one.id for one in world.roster.past_decisions()}
    assert {launched.decision, asked.decision} <= decided
    world.faults.calls.clear()
    live(world, controller, 5)
    assert "put fleet/changes.json" not in world.faults.calls, "written where something happened"


def test_the_changes_survive_controllers_and_say_what_an_operator_did(world: World) -> None:
    first = world.controller()
    world.queue.fill(60)
    live(world, first, 4)
    second = world.controller()
    live(world, second, 10)
    assert told(world) == [("launched", "controller"), ("ready", "itself")]
    with world.outside():
        world.roster.request_drain(world.cloud.present[0].id)
    live(world, second, 1)
    assert told(world)[2:] == [("asked_to_drain", "operator"), ("drained", "itself"), ("ended", "controller")]


def test_changes_that_could_not_be_kept_are_kept_later(world: World) -> None:
    controller = world.controller()
    world.queue.fill(30)
    world.faults.broken = {"put fleet/changes.json"}
    live(world, controller, 5)
    assert told(world) == []
    world.faults.broken = set()
    live(world, controller, 1)
    assert told(world) == [("launched", "controller"), ("ready", "itself")]


def test_only_so_many_changes_are_kept(world: World) -> None:
    world.settings = world.settings.model_copy(update={"max_workers": EVENTS})
    controller = world.controller()
    world.queue.fill(100 * EVENTS)
    live(world, controller, 5)
    assert len(told(world)) == EVENTS
    assert {kind for kind, _ in told(world)} == {"ready"}


def test_a_dry_run_keeps_nothing(world: World) -> None:
    world.queue.fill(30)
    live(world, world.controller(dry_run=True), 3)
    assert told(world) == []


# --- an operator's cap ------------------------------------------------------------------------


def cap(world: World, most: int | None) -> None:
    with world.outside():
        world.roster.set_cap(most)


def test_a_cap_holds_from_the_next_tick_on_and_until_it_is_taken_back(world: World) -> None:
    controller = world.controller()
    cap(world, 2)
    world.queue.fill(5_000)
    plan = controller.tick()
    assert plan is not None
    assert len(world.cloud.present) == 2
    assert (plan.pools[0].terms.cap, plan.pools[0].terms.cap_source) == (2, "operator")
    cap(world, 6)
    controller.tick()
    assert len(world.cloud.present) == 6, "beyond the settings' 4"
    cap(world, None)
    live(world, controller, 12)
    assert len(world.cloud.present) == 4
    assert not world.cloud.totals.ended_busy


def test_a_cap_of_nought_drains_all_and_says_so(world: World) -> None:
    controller = world.controller()
    world.queue.fill(500)
    live(world, controller, 4)
    assert world.cloud.present
    cap(world, 0)
    live(world, controller, 12)
    assert not world.cloud.present
    assert world.cloud.outstanding > 0
    assert not world.cloud.totals.ended_busy
    plan = controller.tick()
    assert plan is not None
    assert (plan.pools[0].rule, plan.pools[0].terms.cap, plan.pools[0].terms.granted) == (Rule.CAP, 0, 0)
    assert plan.pools[0].terms.cap_source == "operator"
    cap(world, None)
    live(world, controller, 4)
    assert world.cloud.present


def test_a_cap_that_cannot_be_read_any_more_stays(world: World) -> None:
    controller = world.controller()
    cap(world, 1)
    world.queue.fill(500)
    live(world, controller, 2)
    world.faults.broken = {"instances"}
    cap(world, None)
    live(world, controller, 2)
    assert len(world.cloud.present) == 1


def test_the_cap_beside_the_policy_changes_nothing_else(policy: Policy) -> None:
    assert policy.capped(None) == policy
    assert replace(policy.capped(2), max_workers=4, cap_source="settings") == policy
