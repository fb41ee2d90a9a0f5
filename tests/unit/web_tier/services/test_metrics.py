"""/metrics: the terms of each pool's last decision, beside queues and workers."""

from __future__ import annotations

import math

import pytest
from prometheus_client.parser import text_string_to_metric_families

from controller.events.record import record_of
from controller.policy.policy import decide
from controller.state.model import Observation, PoolView, Stage, Worker, select_policy
from core.fleet.decisions import DecisionRecord
from core.storage.ports import Depth


@pytest.fixture
def families(web):
    return lambda: {family.name: family for family in text_string_to_metric_families(web.client.get("/metrics").text)}


def test_every_term_of_a_decision_is_a_gauge_with_words_of_its_own(web, families):
    views = tuple(PoolView(pool, Depth(60, 4, 0, 1, 0.0), (Worker("i-1", Stage.BUSY, held=4),)) for pool in ("a", "b"))
    plan, _ = decide(Observation(1.0, views), {}, select_policy(web.settings.controller))
    for pool in plan.pools:
        web.backend.roster.record_decision(record_of(pool, at=7.0))
    found = families()
    for pool in plan.pools:
        for name, term, value in pool.terms.items():
            if value is None or isinstance(value, str):  # words are no gauge
                continue
            family = found[f"tagfleet_decision_{name}"]
            assert family.documentation == term.documentation
            [sample] = [sample for sample in family.samples if sample.labels == {"pool": pool.pool}]
            assert math.isclose(sample.value, value)
    rules = {(sample.labels["pool"], sample.labels["rule"]) for sample in found["tagfleet_decision_rule"].samples}
    assert rules == {(pool.pool, str(pool.rule)) for pool in plan.pools}
    assert {sample.value for sample in found["tagfleet_decision_time_seconds"].samples} == {7.0}


def test_what_another_version_decided_by_is_shown_as_far_as_it_is_a_number(web, families):
    terms = {"moon": 0.5, "starved_s": None, "mood": "good", "list": [1]}
    web.backend.roster.record_decision(DecisionRecord(at=0.0, pool="a", action="hold", reason="r", terms=terms))
    found = families()
    assert [sample.value for sample in found["tagfleet_decision_moon"].samples] == [0.5]
    assert not {f"tagfleet_decision_{term}" for term in ("starved_s", "mood", "list")} & found.keys()


def test_before_the_first_decision_there_are_no_terms(families):
    assert not families()["tagfleet_decision_rule"].samples


def test_lines_that_any_web_process_of_the_host_lost_are_counted(web, families):
    """A scrape meets one of the processes."""
    host = web.client.application.extensions["tagfleet"].host
    host.memory.enter(1)
    host.lines_dropped.own = 7
    host.memory.enter(0)
    samples = families()["tagfleet_log_lines_dropped"].samples
    assert {sample.labels["process"]: sample.value for sample in samples}["web"] == 7
