"""The controller's decision about one pool: what to do, by which rule, and from which terms.

1. The policy makes a `Decision`: a `Rule`, the `Terms` and `Details` (the clauses that its sentence names).
2. The controller stores it as a `DecisionRecord`, together with the sentence, for the web tier and the command line.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from core.fleet.events import readable_items
from core.fleet.terms import Terms


class Rule(StrEnum):
    """The rule that made a decision. The log has a line for each change of the rule, not of a number."""

    UNREAD = "unread"
    PAUSED = "paused"
    REST = "rest"
    ENOUGH = "enough"
    LAUNCH = "launch"
    TRIAL = "trial"
    CAP = "cap"
    BUDGET = "budget"
    NO_CAPACITY = "no_capacity"
    BACK_OFF = "back_off"
    BREAKER = "breaker"
    SETTLING = "settling"
    LINGER = "linger"
    SCALE_IN = "scale_in"
    MAKE_ROOM = "make_room"


@dataclass(frozen=True, slots=True)
class Details:
    """Values that a decision's sentence needs beside the terms. No formula uses them."""

    because: str = ""
    """A clause in place of the rule's own: which reading failed, or what another policy wants."""
    refused: str = ""
    """Why the last launch was refused; empty where it was not."""
    notice: str = ""
    """The last failed worker's own message."""
    broken: bool = False
    """The last failure was at work, not in a boot."""
    any_idle: bool = False
    """A worker of the fleet is idle."""
    idle_s: float = 0.0
    """How long every worker to drain has been idle, at least."""
    settle_s: float = 0.0
    """How long a surplus has to last before a worker drains."""
    ended: tuple[str, ...] = ()
    """The stage of each worker to terminate, in their order."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The actions for one pool, with the rule and the terms that led to them."""

    pool: str
    launch: int
    drain: tuple[str, ...]
    terminate: tuple[str, ...]
    rule: Rule
    terms: Terms
    details: Details = Details()

    @property
    def action(self) -> str:
        """`hold`, or any of `launch 2`, `drain 1` and `end 1`, joined by commas."""
        counts = {"launch": self.launch, "drain": len(self.drain), "end": len(self.terminate)}
        return ", ".join(f"{verb} {count}" for verb, count in counts.items() if count) or "hold"

    def stored_terms(self) -> dict[str, Any]:
        """Return the rule and the terms in the form of `DecisionRecord.terms`."""
        return {"rule": str(self.rule), **{name: value for name, _, value in self.terms.items()}}


def _describe_terms(schema: dict[str, Any]) -> None:
    schema["properties"] = {"rule": {"type": "string", "description": "The rule that made it"}, **Terms.schema()}


class DecisionRecord(BaseModel):
    """One decision of the controller about one pool, with every term that made it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str = ""
    """`dec_…`, as in the controller's log. It stays the same while rule and action do, even if the numbers change."""
    at: float
    pool: str
    action: str
    """`hold`, `launch 2`, `drain 1` and the like."""
    reason: str
    """One sentence without a full stop."""
    terms: Annotated[dict[str, Any], Field(json_schema_extra=_describe_terms)]
    """`rule`, and the terms by name: those of the version that wrote it. `Terms.load` reads them."""

    @property
    def kind(self) -> tuple[object, str]:
        """Rule and action. If one of them differs from the pool's decision before, this is a new decision."""
        return self.terms.get("rule"), self.action


class DecisionHistory(BaseModel):
    """Decisions of all pools, oldest first. Each differs in `kind` from its pool's decision before."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    records: Annotated[tuple[DecisionRecord, ...], readable_items(DecisionRecord)] = ()
