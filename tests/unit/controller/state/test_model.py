"""The JSON names of what is recorded and stored: files of the version before are still read."""

from __future__ import annotations

import json

from pydantic import TypeAdapter

from controller.state.model import Observation, PoolDelta, PoolMemory, PoolView
from core.storage.ports import Depth

MEMORY, OBSERVATION = TypeAdapter(dict[str, PoolMemory]), TypeAdapter(Observation)


def test_a_stored_memory_keeps_its_names() -> None:
    memory = {"p": PoolMemory(demand_history=((0.0, 2),), idle_gaps=((7.5, 3),))}
    stored = MEMORY.dump_json(memory)
    assert json.loads(stored)["p"]["ladder"] == [[0.0, 2]]
    assert json.loads(stored)["p"]["gaps"] == [[7.5, 3]]
    assert MEMORY.validate_json(stored) == memory
    assert MEMORY.validate_json(b'{"p": {"ladder": [[0.0, 2]], "gaps": [[7.5, 3]]}}') == memory


def test_a_recorded_observation_keeps_its_names() -> None:
    observation = Observation(1.0, (PoolView("p", Depth(1, 0, 0, 0, 0.0), delta=PoolDelta(arrived=5.0)),))
    recorded = OBSERVATION.dump_json(observation)
    assert json.loads(recorded)["pools"][0]["news"]["arrived"] == 5.0
    assert OBSERVATION.validate_json(recorded) == observation
