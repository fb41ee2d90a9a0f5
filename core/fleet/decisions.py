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
    """Which rule made a decision. The log has one line for each change of it, not for each change of a number."""

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
    """What a decision's sentence names beside the terms. No formula uses it."""

    because: str = ""
    """A clause in place of the rule's own: which reading failed, or what another policy wants."""
    refused: str = ""
    """Why the last launch was refused; empty where it was not."""
    notice: str = ""
    """What the worker that failed last said of itself."""
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
    """What to do with one pool: by which rule, and from which terms."""

    pool: str
    launch: int
    drain: tuple[str, ...]
    terminate: tuple[str, ...]
    rule: Rule
    terms: Terms
    details: Details = Details()

    @property
    def action(self) -> str:
        """`hold`, or `launch 2`, `drain 1`, `end 1` and what of them goes together."""
        counts = {"launch": self.launch, "drain": len(self.drain), "end": len(self.terminate)}
        return ", ".join(f"{verb} {count}" for verb, count in counts.items() if count) or "hold"

    def stored_terms(self) -> dict[str, Any]:
        """The rule and the terms, as a `DecisionRecord` has them."""
        return {"rule": str(self.rule), **{name: value for name, _, value in self.terms.items()}}


def _describe_terms(schema: dict[str, Any]) -> None:
    schema["properties"] = {"rule": {"type": "string", "description": "The rule that made it"}, **Terms.schema()}


class DecisionRecord(BaseModel):
    """One decision of the controller about one pool, with every term that made it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str = ""
    """`dec_…`, as in the controller's log. It stays while rule and action do: the same decision, with new numbers."""
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
        """What makes it another decision than its pool's one before: the rule and the action."""
        return self.terms.get("rule"), self.action


class DecisionHistory(BaseModel):
    """The decisions of all pools that differed from their pool's one before, oldest first."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    records: Annotated[tuple[DecisionRecord, ...], readable_items(DecisionRecord)] = ()
