"""What is logged, stored, and stored again."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from controller.events.record import DECISIONS, ChangeLogger, Recorder
from controller.simulation.world import World
from controller.state.model import Plan
from core.errors import Unavailable
from core.fleet.decisions import Decision, Rule
from core.fleet.roster import Roster
from core.util.clock import Clock
from tests.unit.controller.events.test_render import REST


def recorder(world: World) -> Recorder:
    return Recorder(world.roster, ChangeLogger(), Clock(lambda: world.now, lambda: world.now), 10.0)


def record(recorder: Recorder, world: World, at: float, **rules: Rule) -> int:
    """Record a decision by each pool's rule; returns how many of them are to be shown."""
    world.now = at
    plan = Plan(tuple(Decision(pool, 0, (), (), rule, REST) for pool, rule in rules.items()))
    return len(recorder.record_decisions(plan, store=True))


def kept(roster: Roster) -> list[tuple[float, str]]:
    return [(one.at, one.pool) for one in roster.past_decisions()]


def test_the_history_has_each_decision_that_differs_from_its_pools_last(world: World) -> None:
    one = recorder(world)
    record(one, world, 1, p=Rule.REST, q=Rule.REST)
    record(one, world, 2, p=Rule.REST, q=Rule.LAUNCH)
    record(one, world, 3, p=Rule.CAP, q=Rule.LAUNCH)
    assert kept(world.roster) == [(1, "p"), (1, "q"), (2, "q"), (3, "p")]


def test_the_history_goes_on_after_a_restart_and_stays_short(world: World) -> None:
    rules = list(Rule)
    for number in range(3 * DECISIONS):
        record(recorder(world), world, number, p=rules[number // 2 % len(rules)])
    found = kept(world.roster)
    assert len(found) == DECISIONS
    assert found[-1] == (3 * DECISIONS - 2, "p")


def test_a_decision_that_could_not_be_kept_is_kept_at_the_next_tick(world: World) -> None:
    one = recorder(world)
    world.faults.broken = {"put fleet/history.json"}
    with pytest.raises(Unavailable):
        record(one, world, 1, p=Rule.LAUNCH)
    assert kept(world.roster) == []
    world.faults.broken = set()
    record(one, world, 2, p=Rule.LAUNCH)
    assert kept(world.roster) == [(1, "p")]


def test_a_decision_that_stays_is_stored_again_after_a_while(world: World) -> None:
    one = recorder(world)
    assert [record(one, world, at, p=Rule.REST) for at in (1, 5, 11, 12, 22, 23)] == [1, 0, 0, 1, 0, 1]
    [last] = world.roster.decisions()
    assert last.at == 23


def test_a_subject_is_logged_once_for_each_change() -> None:
    log = ChangeLogger()
    with capture_logs() as said:
        for text, key in (("one waits", "a"), ("two wait", "a"), ("none waits", "b")):
            log.changed("pool", text, key=key)
        log.clear("pool", "over")
        log.clear("pool", "over")
        log.clear("another", "over")
    assert [line["event"] for line in said] == ["one waits", "none waits", "over"]


def test_a_failure_that_lasts_is_one_line_and_a_new_one_another() -> None:
    log = ChangeLogger()
    with capture_logs() as said:
        for error in ("away", "away", "", "away"):
            with log.tolerate("cannot do it"):
                if error:
                    raise Unavailable(error)
    assert [line["event"] for line in said] == ["cannot do it: away"] * 2
