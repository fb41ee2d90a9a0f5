"""The event stream of the fleet: what happened to which worker, who did it, why and when.

The controller derives the events (`controller.events.derive`) and keeps the last ones in the store. The command line,
the page and `tagfleet up` read them and derive nothing themselves.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

Kind = Literal[
    "launched",
    "adopted",
    "orphan",
    "ready",
    "boot_failed",
    "asked_to_drain",
    "interrupted",
    "lost",
    "drained",
    "ended",
    "gone",
]
Actor = Literal["controller", "operator", "owner", "itself"]
"""Who did it. `owner` is the provider of the machine, such as EC2."""
ENDS: frozenset[Kind] = frozenset({"drained", "ended", "boot_failed", "gone"})
"""Each of these is a worker's last event."""

M = TypeVar("M", bound=BaseModel)


def readable_items(kind: type[BaseModel]) -> BeforeValidator:
    """Return a validator of a list that drops items that this version cannot read; another one wrote them."""

    def keep(items: Any) -> Any:
        if not isinstance(items, list | tuple):
            return items
        return [one for item in items if (one := _read(kind, item)) is not None]

    return BeforeValidator(keep)


def _read(kind: type[M], item: Any) -> M | None:
    try:
        return kind.model_validate(item)
    except ValidationError:
        return None


class FleetEvent(BaseModel):
    """One change in the life of a worker: what happened, who did it, and why."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    at: float
    """Unix time."""
    kind: Kind
    pool: str
    worker_id: str
    offering: str = ""
    """The kind of machine, in words; empty if it is no longer known."""
    by: Actor
    controller: str = ""
    """`ctl_…`, if a controller did it."""
    decision: str = ""
    """`dec_…`, the decision behind it; empty if it is unknown."""
    reason: str
    """One sentence without a full stop."""

    @property
    def title(self) -> str:
        """The kind in words: `asked to drain`."""
        return self.kind.replace("_", " ")

    @property
    def actor(self) -> str:
        """Who did it, in words."""
        match self.by:
            case "controller":
                return " ".join(filter(None, ("the controller", self.controller, self.decision)))
            case "operator":
                return "an operator"
            case "owner":
                return "the machine's owner"
            case "itself":
                return "itself"


class FleetEvents(BaseModel):
    """The last events, oldest first, as the store keeps them."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    changes: Annotated[tuple[FleetEvent, ...], readable_items(FleetEvent)] = ()
