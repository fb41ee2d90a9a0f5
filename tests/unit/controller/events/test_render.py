"""Decisions in words: one table of sentences, and every term in every output."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

import pytest

from controller.events.metrics import samples
from controller.events.record import record_of
from controller.events.render import explain, sentence, term_rows
from controller.policy.policy import decide
from controller.state.model import Observation, Plan, Policy, PoolView, Stage, Worker
from core.fleet.decisions import Decision, DecisionRecord, Details, Rule
from core.fleet.metrics import Metric
from core.fleet.terms import Row, Term, Terms
from core.storage.ports import Depth, Offering
from web_tier.services.metrics import decision_gauges

NOTHING = Terms(
    **{name: 0 for name in Terms.described() if name not in ("cap_source", "below_s", "starved_s")},
    below_s=None,
    starved_s=None,
)
REST = replace(NOTHING, throughput=20.0, boot_s=3.0, utilisation=0.8, drain_goal_s=30.0, cap=4, keep_s=30.0)
"""A pool at rest."""


def decided(rule: Rule, launch: int = 0, drain: str = "", ends: Mapping[str, str] | None = None, **more: Any) -> str:
    """The sentence of a decision; `more` are terms and details."""
    details = {name: value for name, value in more.items() if name in Details.__slots__}
    terms = {name: value for name, value in more.items() if name not in details}
    ends = ends or {}
    return sentence(
        Decision(
            "p",
            launch,
            tuple(drain),
            tuple(ends),
            rule,
            replace(REST, **terms),
            Details(**details, ended=tuple(ends.values())),
        )
    )


BREAKER = {"visible": 900, "failures": 3, "retry_in_s": 60.0}
SENTENCES: list[tuple[str, str]] = [
    (decided(Rule.UNREAD, because="the queue cannot be read"), "the queue cannot be read: nothing is changed"),
    (decided(Rule.LAUNCH, 2, because="keda wants 2 and 0 are there"), "keda wants 2 and 0 are there: launch 2"),
    (
        decided(Rule.PAUSED, visible=12),
        "12 images wait and no worker runs, but the fleet is paused: nothing is launched or drained",
    ),
    (
        decided(Rule.PAUSED, busy=1, in_flight=8),
        "8 images are in work and 1 worker is ready, but the fleet is paused: nothing is launched or drained",
    ),
    (decided(Rule.REST), "nothing waits and no worker runs: rest"),
    (decided(Rule.REST, draining=1), "nothing waits and the last workers leave: rest"),
    (
        decided(Rule.ENOUGH, visible=2, booting=1),
        "2 images wait, 1 worker is booting and will clear them in 0.1 s: wait",
    ),
    (decided(Rule.ENOUGH, visible=1, busy=2, booting=1), (
        "1 image waits, 2 workers are ready, 1 is booting and will clear it in 0.0 s: wait"
    )),
    (decided(Rule.ENOUGH, busy=1, in_flight=1), "1 image is in work and 1 worker is ready: hold"),
    (
        decided(Rule.ENOUGH, idle=1, floor=1, wanted=1),
        "nothing waits, 1 worker is ready and the schedule asks for 1: hold",
    ),
    (
        decided(Rule.ENOUGH, idle=1, arrival_rate=2.0, wanted=1),
        "nothing waits, 1 worker is ready and 2.0 images arrive a second: hold",
    ),
    (decided(Rule.LAUNCH, 1, visible=1, wanted=1), "1 image waits and no worker runs: launch 1"),
    (
        decided(Rule.LAUNCH, 1, visible=1_200, busy=1, wanted=2),
        "1,200 images wait, 1 worker is ready and would need 60 s, the goal is 30 s: launch 1",
    ),
    (
        decided(Rule.LAUNCH, 2, floor=2, wanted=2),
        "nothing waits, no worker runs and the schedule asks for 2: launch 2",
    ),
    (
        decided(Rule.LAUNCH, 1, idle=1, floor=2, wanted=2),
        "nothing waits, 1 worker is ready and the schedule asks for 2: launch 1",
    ),
    (
        decided(Rule.LAUNCH, 3, foreseen=40.0, wanted=3),
        "nothing waits, no worker runs and 40.00 images a second came at this time yesterday, which takes 3: launch 3",
    ),
    (
        decided(Rule.LAUNCH, 4, floor=9, wanted=9),
        "nothing waits, no worker runs and the schedule asks for 9; 5 more wanted, beyond its share of the cap of 4: "
        "launch 4",
    ),
    (
        decided(Rule.LAUNCH, 1, ends={"a": "lost", "b": "draining"}, visible=5, wanted=1),
        "5 images wait and no worker runs: launch 1; end a (lost), b (its time to drain is over)",
    ),
    (decided(Rule.REST, ends={"a": "boot_failed"}), "nothing waits and no worker runs: rest; end a (boot failed)"),
    (
        decided(Rule.CAP, visible=9_000, wanted=15, busy=1, granted=1, cap=1),
        "9,000 images wait and 15 workers wanted, but its share of the cap (max_workers = 1) is 1: hold",
    ),
    (
        decided(Rule.CAP, visible=5, wanted=1, cap=0, cap_source="operator"),
        "5 images wait and 1 worker wanted, but its share of the cap (set by an operator to 0) is 0: hold",
    ),
    (
        decided(Rule.CAP, visible=5, wanted=1, granted=1, billable=4),
        "5 images wait and 1 worker wanted, but 4 instances of all pools, leaving ones included, fill the cap of 4: "
        "hold",
    ),
    (
        decided(
            Rule.BUDGET, visible=9_000, wanted=15, budget_per_hour=0.3, spend_per_hour=0.16, price_per_hour=0.16
        ),
        "9,000 images wait and 15 workers wanted, but the budget of $0.30/h is reached ($0.16/h, another $0.160/h): "
        "hold",
    ),
    (
        decided(Rule.NO_CAPACITY, visible=50, wanted=1),
        "50 images wait and 1 worker wanted, but no offering has capacity now; each is asked again after a while: hold",
    ),
    (
        decided(Rule.BREAKER, **BREAKER, notice="the weights are damaged"),
        "900 images wait, but 3 boots in a row failed and the circuit breaker is open, next try in 60 s "
        "(see the worker's log, it said: the weights are damaged): hold",
    ),
    (
        decided(Rule.BREAKER, **BREAKER, broken=True, notice="RuntimeError: out of memory"),
        "900 images wait, but 3 workers in a row failed and the circuit breaker is open, next try in 60 s "
        "(see the worker's log, it said: RuntimeError: out of memory): hold",
    ),
    (
        decided(Rule.BREAKER, **BREAKER, refused="the launch template tagfleet-p is gone: run `tagfleet aws up`"),
        "900 images wait, but the last launch was refused and the circuit breaker is open, next try in 60 s "
        "(the launch template tagfleet-p is gone: run `tagfleet aws up`): hold",
    ),
    (
        decided(Rule.BACK_OFF, visible=5, failures=1, retry_in_s=1.0),
        "5 images wait, but the last boot failed, next try in 1.0 s (see the worker's log): hold",
    ),
    (
        decided(Rule.TRIAL, visible=5, failures=1, broken=True),
        "5 images wait and the last worker broke at work, so workers are tried one by one (see the worker's log): "
        "wait for the trial",
    ),
    (
        decided(Rule.TRIAL, 1, visible=5, failures=2),
        "5 images wait and 2 boots in a row failed, so workers are tried one by one (see the worker's log): launch 1",
    ),
    (decided(Rule.SETTLING, idle=1, below_s=3.0, settle_s=15.0), (
        "nothing waits and 1 worker too many for 3.0 s of 15 s: hold"
    )),
    (decided(Rule.SCALE_IN, drain="a", idle=1, idle_s=30.0), "nothing waits and 1 worker idle for 30 s: drain 1"),
    (decided(Rule.SCALE_IN, drain="ab", idle=2, idle_s=2.0), "nothing waits and 2 workers too many for 30 s: drain 2"),
    (decided(Rule.LINGER, busy=1, in_flight=8), (
        "8 images are in work and 1 worker is ready, too many, but none is idle: hold"
    )),
    (
        decided(Rule.LINGER, idle=1, peak=1, any_idle=True),
        "nothing waits and 1 worker is ready, 1 was needed within the last 30 s: hold",
    ),
    (
        decided(Rule.LINGER, idle=2, peak=1, below_s=20.0, any_idle=True),
        "nothing waits and 2 workers too many for 20 s of 30 s: hold",
    ),
    (decided(Rule.MAKE_ROOM, drain="ab", billable=3, cap=1), "3 instances run and the cap is 1: drain 2"),
    (decided(Rule.MAKE_ROOM, drain="a", cap=1), "another pool waits for room under the cap of 1: drain 1"),
    (
        decided(Rule.MAKE_ROOM, drain="a", spend_per_hour=0.48, budget_per_hour=0.35),
        "$0.48/h is spent and the budget is $0.35/h: drain 1",
    ),
    (
        decided(Rule.MAKE_ROOM, drain="a", spend_per_hour=0.32, budget_per_hour=0.35),
        "another pool waits for room under the budget of $0.35/h: drain 1",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("said", "expected"), SENTENCES, ids=[expected for _, expected in SENTENCES])
def test_the_sentence_of_a_decision(said: str, expected: str) -> None:
    assert said == expected


@pytest.mark.parametrize("rule", Rule)
def test_every_rule_has_a_sentence(rule: Rule) -> None:
    assert decided(rule, idle=1).count(": ") == 1


# --- every term in every output ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MoreTerms(Terms):
    """A later version, which has one term more."""

    moons: Annotated[
        int,
        Term(Row.AHEAD, "{} moons are full", "Full moons", unit="m", symbol="☾", metric=Metric.BACKLOG_VISIBLE),
    ] = 0


def test_a_new_term_is_one_field() -> None:
    terms = MoreTerms(**{name: getattr(REST, name) for name in Terms.described()}, moons=7)
    decision = Decision("p", 0, (), (), Rule.REST, terms)
    record = DecisionRecord.model_validate_json(record_of(decision, at=0.0).model_dump_json())
    assert record.terms["moons"] == 7
    assert MoreTerms.load(record.terms) == terms
    assert Terms.load(record.terms) == REST, "an earlier version passes it over"
    assert "☾ 7 m moons are full" in dict(term_rows(terms))["ahead"]
    assert "moons     7" in explain([record], now=1.0)
    sent = samples(Observation(1.0, (PoolView("p", Depth(0, 0, 0, 0, 0.0)),)), Plan((decision,)))
    assert 7.0 in [sample.value for sample in sent if sample.metric is Metric.BACKLOG_VISIBLE]
    assert "tagfleet_decision_moons" in {family.name for family in decision_gauges([record])}
    assert MoreTerms.described()["moons"].documentation == "Full moons (☾, m)"


def test_every_term_is_in_every_output() -> None:
    numbers = {name: 101 + place for place, name in enumerate(Terms.described()) if name != "cap_source"}
    decision = Decision("p", 0, (), (), Rule.REST, Terms(**numbers))
    record = record_of(decision, at=0.0)
    stored, told = json.loads(record.model_dump_json())["terms"], explain([record], now=1.0)
    gauges = {family.name: family for family in decision_gauges([record])}
    schema = DecisionRecord.model_json_schema()["properties"]["terms"]["properties"]
    for name, number in numbers.items():
        assert stored[name] == number
        assert str(number) in told
        [sample] = gauges[f"tagfleet_decision_{name}"].samples
        assert sample.value == number
        assert gauges[f"tagfleet_decision_{name}"].documentation == Terms.described()[name].documentation
        assert schema[name]["description"] == Terms.described()[name].documentation
    assert stored["cap_source"] == "settings"
    assert "set by settings" in told
    assert Terms.load(stored) == decision.terms


# --- explain ----------------------------------------------------------------------------------


def record(policy: Policy) -> DecisionRecord:
    crew = (Worker("a", Stage.BUSY, held=8), Worker("b", Stage.BOOTING, age_s=0.5))
    looked = PoolView("resnet50", Depth(500, 12, 3, 1, 0.0), crew)
    stored = record_of(decide(Observation(1.0, (looked,)), {}, policy)[0].pools[0], at=100.0)
    return DecisionRecord.model_validate_json(stored.model_dump_json())


def test_the_formula_can_be_checked_by_hand(policy: Policy) -> None:
    told = explain([record(policy)], now=104.0)
    assert told.startswith("resnet50: launch 2  (4 s ago)\n  507 images wait, 1 worker is ready, 1 is booting and")
    assert "V 500 visible, D 3 delayed, F 12 in flight, Fo 4 of them held by no live worker, 1 dead" in told
    assert "487.0 images will still wait" in told
    assert "= max(0, 500 + 3 + 4 + 0.00·2.0 − 8.0·(1·2.0 + 0.5))" in told
    assert "= ceil(0.00 + 6.09), at least 1, at least 1" in told
    assert "budget    $0.00/h for the instances of all pools, no budget is set, another one costs $0.000/h" in told
    assert max(map(len, told.splitlines())) <= 120
    assert all(line == line.rstrip() for line in told.splitlines())


def test_several_pools_and_ages(policy: Policy) -> None:
    told = explain([record(policy), record(policy).model_copy(update={"pool": "other"})], now=100.0 + 600)
    assert told.count("(10 min ago)") == 2
    assert "\n\nother: " in told


def test_a_record_of_another_version_is_shown_as_it_is() -> None:
    strange = DecisionRecord(at=0.0, pool="p", action="hold", reason="r", terms={"some": 1, "terms": "x"})
    assert explain([strange], now=9_000.0).splitlines() == [
        "p: hold  (2 h ago)",
        "  r.",
        "",
        "  some   1",
        "  terms  x",
    ]


def test_terms_that_an_earlier_version_did_not_have_get_their_defaults(policy: Policy) -> None:
    told = record(policy)
    older = {name: value for name, value in told.terms.items() if name not in ("floor", "foreseen", "unanswered")}
    assert explain([told.model_copy(update={"terms": older})], now=1.0) == explain([told], now=1.0)


@pytest.mark.parametrize("broken", [{"throughput": 0}, {"visible": "many"}, {"drain_goal_s": None}])
def test_terms_that_the_formula_cannot_use_are_shown_as_they_are(policy: Policy, broken: dict[str, Any]) -> None:
    told = record(policy)
    name, value = next(iter(broken.items()))
    assert f"{name:15}  {value}\n" in explain([told.model_copy(update={"terms": told.terms | broken})], now=1.0)


def test_a_budget_is_told_with_what_is_spent(policy: Policy) -> None:
    spot = Offering("g4dn.xlarge", "us-east-1a", "spot", 0.158)
    looked = PoolView("p", Depth(500, 0, 0, 0, 0.0), (Worker("a", Stage.BUSY, price=0.158),), offerings=(spot,))
    limited = replace(policy, budget_per_hour=0.3)
    told = explain([record_of(decide(Observation(1.0, (looked,)), {}, limited)[0].pools[0], at=1.0)], now=2.0)
    assert "$0.16/h for the instances of all pools, at most $0.30/h, another one costs $0.158/h" in told
    assert "the budget of $0.30/h is reached" in told


def test_a_pause_is_told_first(policy: Policy) -> None:
    told = explain([record(policy)], now=104.0, paused=True)
    assert told.startswith("The fleet is paused: ")
    assert "\n\nresnet50: launch 2" in told
    assert "paused" not in explain([record(policy)], now=104.0)
