"""How often an idle deployment's workers are looked for."""

from __future__ import annotations

import pytest

from core.domain.messages import Job, encode
from core.fleet.roster import Heartbeat, WorkerState
from web_tier.catalog.samples import EVERY_S, SampleCatalog
from web_tier.collector.sampler import Sampler


class Fleet:
    """Counts how often its workers are asked for: each time is a request to the store."""

    def __init__(self) -> None:
        self.looks = 0
        self.found: list[Heartbeat] = []

    def workers(self) -> list[Heartbeat]:
        self.looks += 1
        return self.found


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


@pytest.fixture
def sampler(web, fleet) -> Sampler:
    queue = web.backend.jobs(web.settings.default_pool)
    return Sampler(SampleCatalog(web.catalog.database), [queue], fleet, wall=web.clock, clock=web.clock)


def minute(web, sampler) -> None:
    for _ in range(int(60 / EVERY_S)):
        sampler.sample()
        web.clock.now += EVERY_S


def test_an_idle_minute_costs_four_looks_and_has_all_samples(web, sampler, fleet):
    minute(web, sampler)
    assert fleet.looks == 4
    assert len(SampleCatalog(web.catalog.database).after(0, web.clock.now)) == 12


def test_workers_are_looked_for_at_once_when_there_are_messages(web, sampler, fleet):
    sampler.sample()
    sampler.sample()
    assert fleet.looks == 1
    job = Job(batch_id="b", image_id="i", key="k", name="n", tagger="t", submitted_at=0.0)
    web.backend.jobs(web.settings.default_pool).send([encode(job)])
    minute(web, sampler)
    assert fleet.looks == 13


def test_a_fleet_with_workers_is_looked_at_each_time(web, sampler, fleet):
    times = {"at": 0.0, "state_since": 0.0, "started_at": 0.0}
    fleet.found = [Heartbeat(worker_id="w", pool="p", tagger="t", seq=1, state=WorkerState.IDLE, **times)]
    minute(web, sampler)
    assert fleet.looks == 12
