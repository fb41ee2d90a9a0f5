"""Events and decisions of other versions, as the store has them."""

from __future__ import annotations

import json

import pytest

from core.fleet.events import FleetEvent
from core.fleet.roster import Roster
from core.storage import layout
from core.storage.memory import MemoryStore

EVENT = {"at": 1.0, "kind": "ready", "pool": "p", "worker_id": "w", "by": "itself", "reason": "1 s after its launch"}
DECISION = {"at": 1.0, "pool": "p", "action": "hold", "reason": "nothing waits", "terms": {"rule": "rest"}}


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def test_an_event_that_this_version_cannot_read_hides_no_other(store: MemoryStore) -> None:
    strange = [EVENT | {"kind": "teleported"}, {"at": "never"}, 7, EVENT | {"by": "nobody"}]
    written = {"changes": [EVENT, *strange, EVENT | {"at": 2.0, "mood": "good"}], "version": 9}
    store.put(layout.CHANGES, json.dumps(written).encode())
    assert [(one.kind, one.at) for one in Roster(store).events()] == [("ready", 1.0), ("ready", 2.0)]


def test_a_decision_that_this_version_cannot_read_hides_no_other(store: MemoryStore) -> None:
    older = {name: value for name, value in DECISION.items() if name != "terms"}
    newer = DECISION | {"at": 2.0, "terms": {"rule": "moonlight", "moons": 3}, "mood": "good"}
    store.put(layout.HISTORY, json.dumps({"records": [DECISION, older, newer]}).encode())
    assert [(one.at, one.kind) for one in Roster(store).past_decisions()] == [
        (1.0, ("rest", "hold")),
        (2.0, ("moonlight", "hold")),
    ]


@pytest.mark.parametrize("data", [b"{", b"[]", b'{"changes": 3, "records": 3}', b"{}"])
def test_what_cannot_be_read_at_all_is_empty(store: MemoryStore, data: bytes) -> None:
    store.put(layout.CHANGES, data)
    store.put(layout.HISTORY, data)
    assert Roster(store).events() == Roster(store).past_decisions() == ()


def test_what_is_kept_is_read_again(store: MemoryStore) -> None:
    event = FleetEvent(**EVENT, offering="g4dn.xlarge spot in us-east-1b", decision="dec_1")
    Roster(store).keep_events([event])
    assert Roster(store).events() == (event,)
    assert json.loads(store.get(layout.CHANGES).data)["changes"][0] == event.model_dump()


@pytest.mark.parametrize(
    ("by", "said"),
    [
        ("controller", "the controller ctl_1 dec_2"),
        ("operator", "an operator"),
        ("owner", "the machine's owner"),
        ("itself", "itself"),
    ],
)
def test_who_did_it_in_words(by: str, said: str) -> None:
    event = FleetEvent(**EVENT | {"by": by, "kind": "asked_to_drain", "controller": "ctl_1", "decision": "dec_2"})
    assert (event.actor, event.title) == (said, "asked to drain")
