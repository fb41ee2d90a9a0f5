"""Write each tick of a live controller to a file, and replay the file under another policy.

The file has one JSON object a line: `{"recording": 1, "policy": {…}}` first, then `{"observation": {…}, "plan": {…}}`
for each tick. A replay gives another policy the same observations, one by one. It cannot show the effects of the other
plans; the simulator can.
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

from config.validation import first_problem
from controller.events.record import ChangeLogger
from controller.events.render import sentence
from controller.policy.policy import Decide
from controller.state.model import Memory, Observation, Plan, Policy
from core.fleet.decisions import Decision

_VERSION = 1
HEADING = '{"recording":'
"""How the first line of every recording begins."""


@dataclass(frozen=True, slots=True)
class RecordedTick:
    """One tick: the policy's observation and its plan."""

    observation: Observation
    plan: Plan


_POLICY, _TICK = TypeAdapter(Policy), TypeAdapter(RecordedTick)


class BadRecording(ValueError):
    """A controller of this version did not write this line. The text names the line."""


def tick_writer(file: TextIO, policy: Policy) -> Callable[[Observation, Plan], None]:
    """Write the heading, and return a function that writes one tick. A killed controller leaves whole lines.

    If a tick cannot be written (the disk is full, say), the writer logs that and skips the tick.
    """
    log, name = ChangeLogger(), getattr(file, "name", "")

    def write(line: str) -> None:
        try:
            _append(file, line)
        except OSError as error:
            log.changed("recording", f"ticks are missing from the recording {name}: {error.strerror}")
        else:
            log.clear("recording", f"the recording {name} goes on")

    write(json.dumps({"recording": _VERSION, "policy": _POLICY.dump_python(policy, mode="json")}))
    return lambda observation, plan: write(_line(observation, plan))


def _line(observation: Observation, plan: Plan) -> str:
    """Return the tick as JSON, each decision with its sentence, for people who read the file."""
    tick = _TICK.dump_python(RecordedTick(observation, plan), mode="json")
    for stored, decision in zip(tick["plan"]["pools"], plan.pools, strict=True):
        stored["reason"] = sentence(decision)
    return json.dumps(tick, ensure_ascii=False, separators=(",", ":"))


def _append(file: TextIO, line: str) -> None:
    """Write past the stream's buffer: a failed write would leave its rest there, in front of a later line."""
    try:
        fd = file.fileno()
    except UnsupportedOperation:  # in memory
        file.write(line + "\n")
        return
    data, end = (line + "\n").encode(), os.fstat(fd).st_size
    if os.write(fd, data) != len(data):
        os.ftruncate(fd, end)  # no half line
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def read(lines: Iterable[str]) -> tuple[Policy, Iterator[RecordedTick]]:
    """Return the recorded policy, and an iterator that reads the ticks. Both this call and it raise BadRecording."""
    numbered = enumerate(lines, 1)
    try:
        heading = json.loads(next(numbered, (1, ""))[1])
        if heading["recording"] != _VERSION:
            raise BadRecording(f"a recording of version {heading['recording']}; this Tagfleet reads {_VERSION}")
        policy = _POLICY.validate_python(heading["policy"])
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, BadRecording):
            raise
        raise BadRecording("line 1 is not the heading of a controller's recording") from None
    return policy, _ticks(numbered)


def _ticks(numbered: Iterator[tuple[int, str]]) -> Iterator[RecordedTick]:
    for number, line in numbered:
        if line.startswith(HEADING):  # a restarted controller appends to the same file
            continue
        try:
            yield _TICK.validate_json(line)
        except ValidationError as error:
            raise BadRecording(f"line {number} is not a tick: {first_problem(error)}") from None


@dataclass(frozen=True, slots=True)
class Difference:
    """Two different decisions about a pool; `at` in seconds of observed time from the start."""

    at: float
    recorded: Decision
    other: Decision


def replay(
    ticks: Iterable[RecordedTick], decide: Decide, policy: Policy, cap: int | None = None
) -> Iterator[Difference]:
    """Yield each decision whose action differs from the recorded one. `decide` learns from the recording alone.

    `cap` replaces the policy's cap and every operator's cap.
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
