"""What every fleet does. See `core.storage.ports.Fleet`."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from core.errors import Unavailable
from core.storage.ports import Cause, Fleet, InstanceState, Launch

_tokens = count()


@pytest.fixture
def fleet(fleets):
    return fleets.open()


def launch(fleet: Fleet, pool: str, count: int, token: str) -> Launch:
    """By the best offering, which stays the same for as long as capacity does."""
    return fleet.launch(pool, count, token, fleet.offerings(pool)[0])


def states(fleet: Fleet) -> dict[str, InstanceState]:
    return {instance.id: instance.state for instance in fleet.instances()}


@pytest.fixture
def running(fleets, fleet, eventually):
    """Launches `count` workers and waits until they have come up; gives their ids."""

    def start(count: int, *, of: Fleet | None = None, pool: str = "resnet50") -> list[str]:
        ids = [instance.id for instance in launch(of or fleet, pool, count, f"running-{next(_tokens)}").instances]
        assert len(ids) == count
        eventually(lambda: all(states(fleet)[id_] == "running" and fleets.booted(id_) for id_ in ids))
        return ids

    return start


def test_a_new_fleet_is_empty(fleet):
    assert fleet.instances() == []


def test_launch_starts_as_many_as_asked_for(fleets, fleet, eventually):
    started = launch(fleet, "resnet50", 3, "a-token")
    assert (started.shortfall, started.reason) == (0, "")
    assert len({instance.id for instance in started.instances}) == 3
    for instance in started.instances:
        assert (instance.pool, instance.token) == ("resnet50", "a-token")
        assert instance.state in ("pending", "running")
        assert abs(instance.launched_at - time.time()) < 600
    other = fleets.open()
    eventually(lambda: list(states(other).values()) == ["running"] * 3)
    assert {instance.id for instance in other.instances()} == {instance.id for instance in started.instances}


def test_an_id_can_be_a_part_of_a_store_key(running):
    for id_ in running(2):
        assert id_
        assert not set(id_) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


def test_instances_of_all_pools_are_listed(fleet, running):
    running(1, pool="resnet50")
    running(2, pool="florence2")
    assert sorted(instance.pool for instance in fleet.instances()) == ["florence2", "florence2", "resnet50"]


def test_none_may_be_launched(fleet):
    assert launch(fleet, "resnet50", 0, "none") == Launch()
    assert fleet.instances() == []


def test_the_same_token_launches_nothing_again(fleets, fleet):
    first = launch(fleet, "resnet50", 2, "same")
    for client in (fleet, fleets.open()):
        again = launch(client, "resnet50", 2, "same")
        assert [instance.id for instance in again.instances] == [instance.id for instance in first.instances]
    assert len(fleet.instances()) == 2


def test_the_same_token_returns_instances_that_are_gone(fleets, fleet, running, eventually):
    [id_] = [instance.id for instance in launch(fleet, "resnet50", 1, "short-lived").instances]
    eventually(lambda: states(fleet)[id_] == "running")
    fleets.crash(id_)
    eventually(lambda: states(fleet)[id_] == "gone")
    [again] = launch(fleet, "resnet50", 1, "short-lived").instances
    assert (again.id, again.state) == (id_, "gone")


def test_the_same_token_from_many_at_once_launches_once(fleets):
    with ThreadPoolExecutor(6) as pool:
        started = list(pool.map(lambda _: launch(fleets.open(), "resnet50", 2, "race"), range(6)))
    assert len({instance.id for each in started for instance in each.instances}) == 2
    assert len(fleets.open().instances()) == 2


def test_another_token_launches_more(fleet):
    launch(fleet, "resnet50", 1, "one")
    launch(fleet, "resnet50", 1, "two")
    assert len(fleet.instances()) == 2


def test_an_instance_tells_what_it_was_launched_by(fleet, eventually):
    offering = fleet.offerings("resnet50")[0]
    [launched] = fleet.launch("resnet50", 1, "told", offering).instances
    eventually(lambda: len(fleet.instances()) == 1)
    for told in (launched, *fleet.instances()):
        assert (told.type, told.zone, told.market, told.price) == (
            offering.type,
            offering.zone,
            offering.market,
            offering.price,
        )


def test_a_shortfall_is_data(fleets, fleet):
    offering = fleet.offerings("resnet50")[0]
    for _ in range(2):  # a replay tells the same
        fell = fleets.without_capacity().launch("resnet50", 2, "too-many", offering)
        assert (fell.instances, fell.shortfall) == ([], 2)
        assert fell.reason
    assert fleet.instances() == []


def test_an_offering_without_capacity_is_set_aside_for_a_while(fleets):
    fleet = fleets.without_capacity()
    offering = fleet.offerings("resnet50")[0]
    if fleet.launch("resnet50", 1, "token", offering).cause is not Cause.CAPACITY:
        pytest.skip("what this fleet lacks is not capacity")
    assert offering not in fleet.offerings("resnet50")
    fleets.pass_time(170)
    assert offering not in fleet.offerings("resnet50")
    fleets.pass_time(20)
    assert fleet.offerings("resnet50")[0] == offering


def test_an_offering_whose_instances_are_wanted_back_is_set_aside_for_a_while(fleets, fleet, running):
    offering = fleet.offerings("resnet50")[0]
    [id_] = running(1)
    fleet.set_aside(["never-was", id_])
    if offering.market != "spot":
        assert fleet.offerings("resnet50")[0] == offering, "a process cannot run out"
        return
    assert offering not in fleet.offerings("resnet50")
    fleets.pass_time(181)
    assert fleet.offerings("resnet50")[0] == offering


def test_terminate_ends_the_named_ones(fleet, running, eventually):
    first, second, third = running(3)
    fleet.terminate([first, third])
    assert states(fleet)[first] in ("stopping", "gone")
    eventually(lambda: states(fleet) == {first: "gone", second: "running", third: "gone"})


def test_terminate_is_no_error_for_unknown_and_gone_ones(fleet, running, eventually):
    [id_] = running(1)
    fleet.terminate([])
    fleet.terminate(["never-was", "../never", "", id_, id_])
    eventually(lambda: states(fleet) == {id_: "gone"})
    fleet.terminate([id_])
    assert states(fleet) == {id_: "gone"}


def test_an_instance_that_does_not_stop_is_ended(fleets, fleet, running, eventually):
    [id_] = running(1, of=fleets.stubborn())
    fleet.terminate([id_])
    assert states(fleet) == {id_: "stopping"}
    fleets.pass_time(300)
    eventually(lambda: states(fleets.open()) == {id_: "gone"})


def test_an_instance_may_be_terminated_before_it_runs(fleet, eventually):
    started = launch(fleet, "resnet50", 2, "changed-my-mind")
    fleet.terminate([instance.id for instance in started.instances])
    eventually(lambda: set(states(fleet).values()) == {InstanceState.GONE})


def test_an_instance_that_crashed_is_gone(fleets, fleet, running, eventually):
    first, second = running(2)
    fleets.crash(first)
    eventually(lambda: states(fleet) == {first: "gone", second: "running"})


def test_the_gone_are_listed_for_a_while(fleets, fleet, running, eventually):
    first, second = running(2)
    fleets.crash(first)
    eventually(lambda: states(fleet)[first] == "gone")
    fleets.pass_time(60)
    assert states(fleet) == {first: "gone", second: "running"}
    fleets.pass_time(7 * 24 * 3600)
    eventually(lambda: states(fleet) == {second: "running"})


def test_a_fleet_that_cannot_be_read_is_no_empty_fleet(fleets):
    fleet = fleets.unavailable()
    with pytest.raises(Unavailable):
        fleet.instances()
    with pytest.raises(Unavailable):
        launch(fleet, "resnet50", 1, "token")


class _Machine(RuleBasedStateMachine):
    """Any sequence of calls by two controllers: a token launches at most its count, and nobody is lost."""

    def __init__(self, fleets, eventually) -> None:
        super().__init__()
        self.fleets = fleets
        self.eventually = eventually
        self.clients = [fleets.open(), fleets.open()]
        self.before = set(states(self.fleet))
        self.first: dict[str, list[str]] = {}
        self.ended: set[str] = set()
        self.run = next(_tokens)

    @property
    def fleet(self) -> Fleet:
        self.clients.reverse()
        return self.clients[0]

    @rule(name=st.sampled_from("ab"), count=st.integers(0, 2))
    def launch(self, name, count):
        token = f"{name}-{count}-{self.run}"
        ids = [instance.id for instance in launch(self.fleet, "resnet50", count, token).instances]
        assert len(ids) == count
        assert self.first.setdefault(token, ids) == ids

    @rule(which=st.integers(0, 100))
    def terminate(self, which):
        if ids := self._ids():
            self.fleet.terminate([ids[which % len(ids)]])
            self.ended.add(ids[which % len(ids)])

    @rule(which=st.integers(0, 100))
    def crash(self, which):
        ids = [id_ for id_ in self._ids() if id_ not in self.ended]
        if ids:
            id_ = ids[which % len(ids)]
            self.eventually(lambda: states(self.fleet)[id_] == "running")
            self.fleets.crash(id_)
            self.ended.add(id_)

    @invariant()
    def all_are_listed(self):
        found = {id_: state for id_, state in states(self.fleet).items() if id_ not in self.before}
        assert sorted(found) == self._ids()
        assert all(state in ("pending", "running") for id_, state in found.items() if id_ not in self.ended)

    def teardown(self):
        self.fleet.terminate(self._ids())
        self.eventually(lambda: all(states(self.fleet)[id_] == "gone" for id_ in self._ids()))

    def _ids(self) -> list[str]:
        return sorted(id_ for ids in self.first.values() for id_ in ids)


def test_any_sequence_of_calls_launches_each_token_once(fleets, eventually):
    run_state_machine_as_test(
        lambda: _Machine(fleets, eventually),
        settings=settings(max_examples=fleets.examples, stateful_step_count=8, deadline=None),
    )
