"""The terms of a decision: every number of the policy's formula, each with its own description.

A term describes itself once, by the `Term` in its annotation. `tagfleet controller explain`, the Prometheus gauges, the
CloudWatch metrics and the API's schema derive from that: a new term is one new field of `Terms`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Annotated, Any, Literal, NamedTuple, Self, get_type_hints

from pydantic import TypeAdapter, ValidationError

from core.fleet.metrics import Metric

Value = int | float | str | None


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
    """A description of the term, for the documentation of its gauge."""
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
    """The CloudWatch metric that carries it."""

    def describe(self, value: Value) -> str:
        """Return the value with its symbol, unit and label."""
        if value is None:
            return self.none
        if value == 0 and self.zero is not None:
            return self.zero
        number = format(value, self.spec)
        shown = f"${number}/h" if self.unit == "$/h" else f"{number} {self.unit}".rstrip()
        symbol = "" if self.symbol == self.row else self.symbol
        return f"{symbol} {self.label.format(shown)}".lstrip()

    @property
    def documentation(self) -> str:
        """The help, with the symbol and the unit in brackets."""
        more = ", ".join(filter(None, (self.symbol, self.unit)))
        return f"{self.help} ({more})" if more else self.help


@dataclass(frozen=True, slots=True)
class Terms:
    """Every number that made a decision. Counts are of one pool unless the help says otherwise."""

    visible: Annotated[int, Term(Row.QUEUE, "{} visible", "Jobs that wait", symbol="V", metric=Metric.BACKLOG_VISIBLE)]
    delayed: Annotated[int, Term(Row.QUEUE, "{} delayed", "Jobs that wait for their delay to end", symbol="D")]
    in_flight: Annotated[
        int, Term(Row.QUEUE, "{} in flight", "Jobs in flight", symbol="F", metric=Metric.BACKLOG_IN_FLIGHT)
    ]
    orphaned: Annotated[
        int,
        Term(Row.QUEUE, "{} of them held by no live worker", "Jobs in flight that no live worker holds", symbol="Fo"),
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
        Term(Row.SETTINGS, "{} of μ for arrivals", "Share of μ that steady arrivals may use", symbol="ρ", spec="g"),
    ]
    drain_goal_s: Annotated[
        float,
        Term(
            Row.SETTINGS,
            "{} to clear a backlog",
            "Time in which a new worker should clear a backlog",
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
            "Sum of the time since launch of the booting workers",
            "s",
            spec=".1f",
        ),
    ]
    backlog: Annotated[
        float,
        Term(
            Row.BACKLOG,
            "{} images will still wait when a worker launched now is up",
            "Images that will still wait when a worker launched now is up",
            symbol="Q",
            spec=".1f",
        ),
    ]
    wanted: Annotated[
        int,
        Term(
            Row.WANTED,
            "{} wanted",
            "Workers that the work needs now, or will need soon",
            symbol="N*",
            metric=Metric.WORKERS_WANTED,
        ),
    ]
    needed: Annotated[
        int,
        Term(
            Row.SHARE, "{} needed of our own fleet now", "N* without workers started by hand, limited by the back-off"
        ),
    ]
    granted: Annotated[int, Term(Row.SHARE, "{} granted", "The pool's share of the cap")]
    billable: Annotated[
        int,
        Term(
            Row.CAP,
            "{} instances of all pools, leaving ones included",
            "Instances of all pools that are billed, open launches included",
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
            "a worker wanted and none running for {}",
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
            "Price of the instances of all pools, open launches included",
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
            "Price of the next instance; 0 if it is free or unavailable",
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
            "Images that came at this time yesterday, if controller.forecast is on",
            "images/s",
            spec=".2f",
        ),
    ] = 0.0
    unanswered: Annotated[
        int,
        Term(
            Row.WORKERS,
            "{} asked for without an answer",
            "Launches that the fleet never answers: paid for, but no supply",
        ),
    ] = 0

    @property
    def ahead(self) -> int:
        """Workers that must be ready ahead of the work: the schedule's floor, or yesterday's demand."""
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
        """The supply without workers started by hand."""
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
        """Return each term's description, by its name."""
        return _introspect(cls).described

    def items(self) -> Iterator[tuple[str, Term, Value]]:
        """Yield each term's name, description and value."""
        return ((name, term, getattr(self, name)) for name, term in self.described().items())

    @classmethod
    def schema(cls) -> dict[str, Any]:
        """Return each term's JSON schema, by its name."""
        schema = _introspect(cls).adapter.json_schema()["properties"]
        return {
            name: {**schema[name], "title": term.label.replace("{}", "N"), "description": term.documentation}
            for name, term in cls.described().items()
        }

    @classmethod
    def load(cls, stored: Mapping[str, Any]) -> Self | None:
        """Return stored terms as `Terms`; None if they do not suffice for the formula.

        Only this place knows of other versions: it ignores unknown terms and gives missing ones their default.
        """
        try:
            terms: Self = _introspect(cls).adapter.validate_python(stored)
        except ValidationError:
            return None
        return terms if terms.throughput > 0 and terms.utilisation > 0 and terms.drain_goal_s > 0 else None


class _Introspected(NamedTuple):
    """The annotations of a class of terms, read once."""

    described: Mapping[str, Term]
    adapter: TypeAdapter[Any]


_introspected: dict[type[Terms], _Introspected] = {}


def _introspect(cls: type[Terms]) -> _Introspected:
    if cls not in _introspected:
        hints = get_type_hints(cls, include_extras=True)
        marks = {field.name: hints[field.name].__metadata__ for field in fields(cls)}
        described = {name: next(one for one in found if isinstance(one, Term)) for name, found in marks.items()}
        _introspected[cls] = _Introspected(described, TypeAdapter(cls))
    return _introspected[cls]
