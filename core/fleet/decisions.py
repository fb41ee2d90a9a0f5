"""The controller's decision about one pool, and the terms that made it.

1. The policy makes a `Decision`: a `Rule`, the `Terms` (every number of the formula) and `Details` (the clauses that
   its sentence names).
2. The controller stores it as a `DecisionRecord`, together with the sentence, for the web tier and the command line.
3. Each term describes itself once, by the `Term` in its annotation. `tagfleet controller explain`, the Prometheus
   gauges and the CloudWatch metrics derive from that: a new term is one new field of `Terms`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Annotated, Any, Literal, NamedTuple, Self, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from core.fleet.events import readable_items
from core.fleet.metrics import Metric

Value = int | float | str | None


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


class Row(StrEnum):
    """The rows in which `explain` groups the terms, in this order."""

    QUEUE = "queue"
    WORKERS = "workers"
    LEARNED = "learned"
    SETTINGS = "settings"
    BACKLOG = "Q"
    WANTED = "N*"
    AHEAD = "ahead"
    SHARE = "share"
    CAP = "cap"
    BUDGET = "budget"
    SCALE_IN = "scale-in"
    STARVED = "starved"
    BOOTS = "boots"


@dataclass(frozen=True, slots=True)
class Term:
    """How a term is shown: in which row, with which label, unit and help."""

    row: Row
    label: str
    """The words around the value, which goes where `{}` is."""
    help: str
    """What the term is, for the documentation of its gauge."""
    unit: str = ""
    """`s`, `images/s` or `$/h`; empty for a count."""
    symbol: str = ""
    """Its name in the policy's formula."""
    spec: str = ""
    """How the number is formatted."""
    none: str = "no"
    """In place of the label where the value is None."""
    zero: str | None = None
    """In place of the label where the value is 0; None keeps the label."""
    metric: Metric | None = None
    """The metric that it is sent as to CloudWatch."""

    def describe(self, value: Value) -> str:
        """Return the value with its symbol, unit and label."""
        if value is None:
            return self.none
        if value == 0 and self.zero is not None:
            return self.zero
        number = format(value, self.spec)
        shown = f"${number}/h" if self.unit == "$/h" else f"{number} {self.unit}".rstrip()
        return f"{self.symbol} {self.label.format(shown)}".lstrip()

    @property
    def documentation(self) -> str:
        """The help, with the symbol and the unit in brackets."""
        more = ", ".join(filter(None, (self.symbol, self.unit)))
        return f"{self.help} ({more})" if more else self.help


@dataclass(frozen=True, slots=True)
class Terms:
    """Every number that made a decision. Counts are of one pool unless the help says otherwise."""

    visible: Annotated[int, Term(Row.QUEUE, "{} visible", "Jobs that wait", "", "V", metric=Metric.BACKLOG_VISIBLE)]
    delayed: Annotated[int, Term(Row.QUEUE, "{} delayed", "Jobs that wait for their delay to end", "", "D")]
    in_flight: Annotated[
        int, Term(Row.QUEUE, "{} in flight", "Jobs in flight", "", "F", metric=Metric.BACKLOG_IN_FLIGHT)
    ]
    orphaned: Annotated[
        int, Term(Row.QUEUE, "{} of them held by no live worker", "Jobs in flight that no live worker holds", "", "Fo")
    ]
    dead: Annotated[int, Term(Row.QUEUE, "{} dead", "Dead letters", metric=Metric.DEAD_LETTERS)]
    arrival_rate: Annotated[float, Term(Row.LEARNED, "{} arrive", "Images that arrive", "images/s", "λ", spec=".2f")]
    throughput: Annotated[
        float, Term(Row.LEARNED, "{} a worker", "Images that one worker finishes", "images/s", "μ", spec=".1f")
    ]
    boot_s: Annotated[
        float, Term(Row.LEARNED, "{} launch → ready", "Time from a launch to a ready worker", "s", "B", spec=".1f")
    ]
    utilisation: Annotated[
        float,
        Term(
            Row.SETTINGS,
            "{} of μ for arrivals",
            "Share of a worker's throughput that steady arrivals may use",
            symbol="ρ",
            spec="g",
        ),
    ]
    drain_goal_s: Annotated[
        float,
        Term(
            Row.SETTINGS,
            "{} to clear a backlog",
            "Time in which a backlog should be gone once a new worker is up",
            "s",
            "L",
            spec="g",
        ),
    ]
    requested: Annotated[int, Term(Row.WORKERS, "{} requested", "Launches asked for that the fleet does not list yet")]
    booting: Annotated[int, Term(Row.WORKERS, "{} booting", "Workers that boot")]
    idle: Annotated[int, Term(Row.WORKERS, "{} idle", "Workers that are ready and have nothing to do")]
    busy: Annotated[int, Term(Row.WORKERS, "{} busy", "Workers that are at work")]
    draining: Annotated[int, Term(Row.WORKERS, "{} draining", "Workers that finish what they hold and then end")]
    ending: Annotated[int, Term(Row.WORKERS, "{} ending", "Workers on their way out: neither capacity nor draining")]
    by_hand: Annotated[
        int, Term(Row.WORKERS, "{} of them started by hand", "Workers started by hand, which the fleet does not own")
    ]
    head_start_s: Annotated[
        float,
        Term(
            Row.WORKERS,
            "{} head start of the booting",
            "Time that the booting workers have behind them, added up: the sum of max(0, B − remaining)",
            "s",
            spec=".1f",
        ),
    ]
    backlog: Annotated[
        float,
        Term(
            Row.BACKLOG,
            "{} images will still wait when a worker launched now is up",
            "Images that will still wait when a worker launched now is up (Q)",
            spec=".1f",
        ),
    ]
    wanted: Annotated[
        int,
        Term(
            Row.WANTED,
            "{} wanted",
            "Workers that the work needs, or that have to be up before it (N*)",
            metric=Metric.WORKERS_WANTED,
        ),
    ]
    needed: Annotated[
        int,
        Term(
            Row.SHARE,
            "{} needed of our own fleet now",
            "Workers that the fleet itself must supply: N* without those started by hand, limited by the back-off",
        ),
    ]
    granted: Annotated[int, Term(Row.SHARE, "{} granted", "The pool's share of the cap")]
    billable: Annotated[
        int,
        Term(
            Row.CAP,
            "{} instances of all pools, leaving ones included",
            "Instances of all pools that are paid for, launches asked for included",
        ),
    ]
    cap: Annotated[int, Term(Row.CAP, "at most {}", "Most instances of all pools together")]
    below_s: Annotated[
        float | None,
        Term(
            Row.SCALE_IN,
            "target below the fleet for {}",
            "Time that the target has been below the fleet",
            "s",
            spec=".1f",
            none="target not below the fleet",
        ),
    ]
    starved_s: Annotated[
        float | None,
        Term(
            Row.STARVED,
            "a worker wanted and none there for {}",
            "Time that the pool has wanted a worker and had none",
            "s",
            spec=".1f",
        ),
    ]
    failures: Annotated[
        int,
        Term(Row.BOOTS, "{} failed in a row", "Failed boots and refused launches in a row", zero="none failed of late"),
    ]
    retry_in_s: Annotated[
        float, Term(Row.BOOTS, "next try in {}", "Time until the next launch may be tried", "s", spec=".1f", zero="")
    ]
    spend_per_hour: Annotated[
        float,
        Term(
            Row.BUDGET,
            "{} for the instances of all pools",
            "Price of the instances of all pools, launches asked for included",
            "$/h",
            spec=",.2f",
        ),
    ] = 0.0
    budget_per_hour: Annotated[
        float,
        Term(
            Row.BUDGET,
            "at most {}",
            "Most that all instances together may cost; 0: any amount",
            "$/h",
            spec=",.2f",
            zero="no budget is set",
        ),
    ] = 0.0
    price_per_hour: Annotated[
        float,
        Term(
            Row.BUDGET,
            "another one costs {}",
            "Price of the next instance; 0 where none can be had or it is free",
            "$/h",
            spec=",.3f",
        ),
    ] = 0.0
    keep_s: Annotated[
        float,
        Term(
            Row.SCALE_IN,
            "a surplus worker is kept for {}",
            "Time for which a worker that is not needed is kept",
            "s",
            spec=".1f",
        ),
    ] = 0.0
    peak: Annotated[
        int, Term(Row.SCALE_IN, "{} were needed within that", "Most workers that were needed at one time within that")
    ] = 0
    cap_source: Annotated[
        Literal["settings", "operator"], Term(Row.CAP, "set by {}", "Who set the cap: the settings or an operator")
    ] = "settings"
    floor: Annotated[int, Term(Row.AHEAD, "at least {} by the schedule", "Workers that the schedule asks for")] = 0
    foreseen: Annotated[
        float,
        Term(
            Row.AHEAD,
            "{} came at this time yesterday",
            "Images that came at this time yesterday; 0 where nobody looks (controller.forecast)",
            "images/s",
            spec=".2f",
        ),
    ] = 0.0
    unanswered: Annotated[
        int,
        Term(
            Row.WORKERS,
            "{} asked for again and again without an answer",
            "Launches that the fleet never answers: paid for, in case they come to be, and no supply",
        ),
    ] = 0

    @property
    def ahead(self) -> int:
        """Workers that have to be up before there is work."""
        return max(self.floor, math.ceil(self.foreseen / (self.utilisation * self.throughput)))

    @property
    def coming(self) -> int:
        return self.requested + self.booting

    @property
    def ready(self) -> int:
        return self.idle + self.busy

    @property
    def supply(self) -> int:
        """Workers that are ready or will be. Leaving ones do not count."""
        return self.coming + self.ready

    @property
    def own(self) -> int:
        """The supply without those started by hand."""
        return self.supply - self.by_hand

    @property
    def waiting(self) -> int:
        """Jobs that no live worker holds."""
        return self.visible + self.delayed + self.orphaned

    @property
    def outstanding(self) -> int:
        return self.visible + self.in_flight + self.delayed

    @property
    def over_budget(self) -> bool:
        return 0 < self.budget_per_hour < self.spend_per_hour - 1e-9

    @classmethod
    def described(cls) -> Mapping[str, Term]:
        """Each term's description, by its name."""
        return _shape(cls).described

    def items(self) -> Iterator[tuple[str, Term, Value]]:
        """Each term's name, description and value."""
        return ((name, term, getattr(self, name)) for name, term in self.described().items())

    @classmethod
    def load(cls, stored: Mapping[str, Any]) -> Self | None:
        """Read stored terms; None where they do not suffice for the formula.

        The only place that knows of other versions: it passes unknown terms over and gives missing ones their default.
        """
        try:
            terms: Self = _shape(cls).adapter.validate_python(stored)
        except ValidationError:
            return None
        return terms if terms.throughput > 0 and terms.utilisation > 0 and terms.drain_goal_s > 0 else None


class _Shape(NamedTuple):
    """What is read once from a class of terms."""

    described: Mapping[str, Term]
    adapter: TypeAdapter[Any]


_shapes: dict[type[Terms], _Shape] = {}


def _shape(cls: type[Terms]) -> _Shape:
    if cls not in _shapes:
        hints = get_type_hints(cls, include_extras=True)
        marks = {field.name: hints[field.name].__metadata__ for field in fields(cls)}
        described = {name: next(one for one in found if isinstance(one, Term)) for name, found in marks.items()}
        _shapes[cls] = _Shape(described, TypeAdapter(cls))
    return _shapes[cls]


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
    """Add the rule and every term to the JSON schema of stored terms."""
    terms = _shape(Terms).adapter.json_schema()["properties"]
    for name, term in Terms.described().items():
        terms[name]["description"] = term.documentation
        terms[name].pop("title", None)
    schema["properties"] = {"rule": {"type": "string", "description": "The rule that made the decision"}, **terms}


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
