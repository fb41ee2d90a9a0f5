"""The event stream of the fleet: what happened to which worker, who did it, why and when.

The controller derives the events (`controller.events.derive`) and keeps the last ones in the store. The command line,
the page and `tagfleet up` tell from them and derive nothing themselves.
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
"""Who did it. `owner`: who rents the machine out."""
ENDS: frozenset[Kind] = frozenset({"drained", "ended", "boot_failed", "gone"})
"""After one of these a worker is no more."""

M = TypeVar("M", bound=BaseModel)


def readable_items(kind: type[BaseModel]) -> BeforeValidator:
    """Return a validator of a list that drops the items another version wrote and this one cannot read."""

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
    """A worker came, went or was told to: what happened, who did it, and why."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    at: float
    """Unix time."""
    kind: Kind
    pool: str
    worker_id: str
    offering: str = ""
    """Which kind of machine, in words; empty where that is not known any more."""
    by: Actor
    controller: str = ""
    """`ctl_…`, where a controller did it."""
    decision: str = ""
    """`dec_…`, which made it do so; empty where that is not known."""
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
