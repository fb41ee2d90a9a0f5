"""A live controller's observations and plans as a file of JSON lines, and what another policy would have made of them.

The first line is `{"recording": 1, "policy": {…}}`, each other one `{"observation": {…}, "plan": {…}}`: a tick. A
replay gives another policy the same observations, each as it was: what would have come of its plans is for the
simulator.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from io import UnsupportedOperation
from typing import TextIO

from pydantic import TypeAdapter, ValidationError

from controller.events.voice import Voice
from controller.policy.policy import Decide
from controller.state.model import Memory, Observation, Plan, Policy
from core.fleet.decisions import Decision

_VERSION = 1
HEADING = '{"recording":'
"""How the first line begins."""


@dataclass(frozen=True, slots=True)
class Tick:
    observation: Observation
    plan: Plan


_POLICY, _TICK = TypeAdapter(Policy), TypeAdapter(Tick)


class BadRecording(ValueError):
    """A line is not what a controller of this version writes; the text names it."""


def recorder(file: TextIO, policy: Policy) -> Callable[[Observation, Plan], None]:
    """Writes the heading now and a line a tick; each is flushed, so that a killed controller leaves whole lines.

    A tick that cannot be written (the disk is full) is left out: a controller does not end for want of its recording.
    """
    voice, name = Voice(), getattr(file, "name", "")

    def write(line: str) -> None:
        try:
            _append(file, line)
        except OSError as error:
            voice.say("recording", f"ticks are missing from the recording {name}: {error.strerror}")
        else:
            voice.settled("recording", f"the recording {name} goes on")

    write(json.dumps({"recording": _VERSION, "policy": _POLICY.dump_python(policy, mode="json")}))
    return lambda observation, plan: write(_TICK.dump_json(Tick(observation, plan)).decode())


def _append(file: TextIO, line: str) -> None:
    """Past the stream's buffer: what a failed write left there would be written later, in the middle of a line."""
    try:
        fd = file.fileno()
    except UnsupportedOperation:  # in memory
        file.write(line + "\n")
        return
    data, end = (line + "\n").encode(), os.fstat(fd).st_size
    if os.write(fd, data) != len(data):
        os.ftruncate(fd, end)  # no half line
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def read(lines: Iterable[str]) -> tuple[Policy, Iterator[Tick]]:
    """The recorded policy and the ticks, read as they are asked for. Raises BadRecording, also while that goes on."""
    numbered = enumerate(lines, 1)
    try:
        heading = json.loads(next(numbered, (1, ""))[1])
        if heading["recording"] != _VERSION:
            raise BadRecording(f"a recording of version {heading['recording']}; this Tagfleet reads {_VERSION}")
        policy = _POLICY.validate_python(heading["policy"])
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, BadRecording):
            raise
        raise BadRecording("line 1: no recording of a controller starts like this") from None
    return policy, _ticks(numbered)


def _ticks(numbered: Iterator[tuple[int, str]]) -> Iterator[Tick]:
    for number, line in numbered:
        if line.startswith(HEADING):  # a controller that was started again goes on with the same file
            continue
        try:
            yield _TICK.validate_json(line)
        except ValidationError as error:
            raise BadRecording(f"line {number}: {error.error_count()} values are not a tick's") from None


@dataclass(frozen=True, slots=True)
class Difference:
    """At a tick, `at` seconds of observed time from the start."""

    at: float
    recorded: Decision
    other: Decision


def replay(ticks: Iterable[Tick], decide: Decide, policy: Policy, cap: int | None = None) -> Iterator[Difference]:
    """Where `decide` would have acted differently. What it learns, it learns from the recording alone.

    `cap` stands in place of the policy's and of those that operators set.
    """
    memory: Memory = {}
    at = 0.0
    for tick in ticks:
        at += tick.observation.elapsed_s
        plan, memory = decide(tick.observation, memory, policy.capped(tick.observation.cap if cap is None else cap))
        recorded = {pool.pool: pool for pool in tick.plan.pools}
        for pool in plan.pools:
            before = recorded.get(pool.pool)
            if before is not None and before.action != pool.action:
                yield Difference(at, before, pool)
