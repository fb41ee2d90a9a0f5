from __future__ import annotations

from dataclasses import replace

from controller.events.explain import explain
from controller.policy.policy import decide
from controller.state.model import Observation, Policy, PoolView, Stage, Worker
from core.fleet.roster import DecisionRecord
from core.storage.ports import Depth, Offering


def record(policy: Policy) -> DecisionRecord:
    crew = (Worker("a", Stage.BUSY, held=8), Worker("b", Stage.BOOTING, age_s=0.5))
    looked = PoolView("resnet50", Depth(500, 12, 3, 1, 0.0), crew)
    pool = decide(Observation(1.0, (looked,)), {}, policy)[0].pools[0]
    stored = DecisionRecord(at=100.0, pool=pool.pool, action=pool.action, reason=pool.reason, terms=pool.numbers)
    return DecisionRecord.model_validate_json(stored.model_dump_json())


def test_every_term_is_there_and_the_formula_can_be_checked_by_hand(policy: Policy) -> None:
    told = explain([record(policy)], now=104.0)
    assert told.startswith("resnet50: launch 2  (4 s ago)\n  507 images wait, 1 worker is ready, 1 is booting and")
    assert "V 500 visible, D 3 delayed, F 12 in flight, Fo 4 of them held by no live worker; 1 dead" in told
    assert "487.0 images will still wait" in told
    assert "= max(0, 500 + 3 + 4 + 0.00·2.0 − 8.0·(1·2.0 + 0.5))" in told
    assert "= ceil(0.00 + 6.09), at least 1, at least 1" in told
    assert "budget    $0.00/h for the instances of all pools, no budget is set; another one costs $0.000/h" in told
    assert max(map(len, told.splitlines())) <= 120
    assert all(line == line.rstrip() for line in told.splitlines())


def test_several_pools_and_ages(policy: Policy) -> None:
    told = explain([record(policy), record(policy).model_copy(update={"pool": "other"})], now=100.0 + 600)
    assert told.count("(10 min ago)") == 2
    assert "\n\nother: " in told


def test_a_record_of_another_version_is_told_as_it_stands() -> None:
    strange = DecisionRecord(at=0.0, pool="p", action="hold", reason="r", terms={"some": 1, "terms": "x"})
    assert explain([strange], now=9_000.0).splitlines() == [
        "p: hold  (2 h ago)",
        "  r.",
        "",
        "  some   1",
        "  terms  x",
    ]


def test_a_budget_is_told_with_what_is_spent(policy: Policy) -> None:
    spot = Offering("g4dn.xlarge", "us-east-1a", "spot", 0.158)
    looked = PoolView("p", Depth(500, 0, 0, 0, 0.0), (Worker("a", Stage.BUSY, price=0.158),), offerings=(spot,))
    limited = replace(policy, budget_per_hour=0.3)
    plan = decide(Observation(1.0, (looked,)), {}, limited)[0].pools[0]
    told = explain(
        [DecisionRecord(at=1.0, pool="p", action=plan.action, reason=plan.reason, terms=plan.numbers)], now=2.0
    )
    assert "$0.16/h for the instances of all pools, of $0.30/h; another one costs $0.158/h" in told
    assert "the budget of $0.30/h is reached" in told


def test_a_pause_is_told_first(policy: Policy) -> None:
    told = explain([record(policy)], now=104.0, paused=True)
    assert told.startswith("The fleet is paused: ")
    assert "\n\nresnet50: launch 2" in told
    assert "paused" not in explain([record(policy)], now=104.0)
