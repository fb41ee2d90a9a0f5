"""Write docs/costs.md from the recorded figures and the model. The prose is in `cost_page.md`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.cost_model import MILLION, Figures, Instance, Model, beside_per_hour, dollars, hours_of, rate_of

_TEMPLATE = Path(__file__).with_suffix(".md")
_CPU_TAGGERS = ("resnet50", "efficientnet-lite0")
_PATHS = ("bucket", "dropped file", "upload")
_GP3_MIBPS = 125.0
_EXAMPLE = "g4dn.xlarge"


def page(figures: Figures, model: Model) -> str:
    """Return the page as Markdown."""
    assumed, requests = model.assumed, figures.requests
    values = {
        "machine": figures.machine,
        "photo_kb": f"{figures.photo_kb:.0f}",
        "totals": _totals(figures, model),
        "ends": f"{_ends(model):.3f}",
        "limits": _limits(figures, model),
        "decode_ms": f"{figures.decode_ms:.2f}",
        "pipeline": ", ".join(f"{path} {figures.pipeline_ms[path]:.2f}" for path in _PATHS),
        "engines": ", ".join(f"{name} {ms:.1f} ({figures.engines[name]})" for name, ms in figures.engine_ms.items()),
        "int8": ", ".join(f"{gpu} {rates['int8']:,.0f}" for gpu, rates in model.gpus.items()),
        "requests": _requests(figures),
        "images": ", ".join(f"{path} {requests[path].images:,}" for path in _PATHS),
        "network": _network(figures, model),
        "boot_s": f"{assumed['boot_s']:.0f}",
        "idle_s": f"{assumed['idle_s']:.0f}",
        "spot_share": f"{assumed['spot_share']:.0%}",
        "disk_gb": f"{assumed['disk_gb']:.0f}",
        "disk_mibps": f"{_GP3_MIBPS + assumed['disk_mibps']:.0f}",
        "heartbeat_s": f"{assumed['heartbeat_s']:.0f}",
        "beside": f"{beside_per_hour(model):.3f}",
        "photos_month": f"{figures.photo_kb * model.storage['s3_gb_month']:.2f}",
        "results_month": f"{assumed['results_kb'] * model.storage['s3_gb_month']:.2f}",
    }
    return _TEMPLATE.read_text(encoding="utf-8").format(**values)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join([f"| {' | '.join(head)} |", "|" + "---|" * len(head), *(f"| {' | '.join(row)} |" for row in rows)])


def _rows(model: Model) -> Iterator[tuple[Instance, str]]:
    """Yield each type with the taggers that are shown on it."""
    for type_ in model.types:
        for tagger in _CPU_TAGGERS[:1] if type_.gpu else _CPU_TAGGERS:
            yield type_, tagger


def _totals(figures: Figures, model: Model) -> str:
    rows = []
    for type_, tagger in _rows(model):
        cells = [f"{type_.name} ({type_.gpu})" if type_.gpu else type_.name, tagger]
        for path in _PATHS:
            rate = rate_of(type_, path, tagger, figures, model).images_per_s
            requests = figures.requests[path].dollars_per_million()
            prices = (type_.price * model.assumed["spot_share"], type_.price)
            cells.append(" / ".join(f"{dollars(rate, price, model) + requests:.2f}" for price in prices))
        rows.append(cells)
    return _table(["worker", "tagger", *_PATHS], rows)


def _ends(model: Model) -> float:
    """Return $ for the boot and the idle end of a worker on the example's type."""
    [price] = [one.price for one in model.types if one.name == _EXAMPLE]
    return (model.assumed["boot_s"] + model.assumed["idle_s"]) / 3600 * (price + beside_per_hour(model))


def _limits(figures: Figures, model: Model) -> str:
    rows = []
    for type_, tagger in _rows(model):
        rate = rate_of(type_, "bucket", tagger, figures, model)
        rows.append(
            [
                type_.name,
                tagger,
                f"{rate.processor:,.0f}",
                f"{rate.gpu:,.0f}" if rate.gpu else "",
                f"{rate.network:,.0f}",
                f"**{rate.images_per_s:,.0f}**, {rate.bottleneck}",
                f"{hours_of(rate.images_per_s, model):.2f}",
                f"{type_.price:.4f}",
            ]
        )
    head = ["worker", "tagger", "processor (R)", "GPU (T)", "network (T)", "together, bound by", "hours", "$/h (T)"]
    return _table(head, rows)


def _requests(figures: Figures) -> str:
    rows = [
        [
            path,
            *(f"{count:,.1f}" for count in figures.requests[path].per_thousand().values()),
            f"{figures.requests[path].dollars_per_million():.2f}",
        ]
        for path in _PATHS
    ]
    return _table(["", "GET", "PUT", "LIST", "SQS", "$ a million"], rows)


def _network(figures: Figures, model: Model) -> str:
    photos_gb, sqs_gb = (kb * MILLION / 1e6 for kb in (figures.photo_kb, model.assumed["sqs_kb"]))
    prices = model.network
    nat, endpoint = prices["nat_gb"] * (photos_gb + sqs_gb), prices["interface_endpoint_gb"] * sqs_gb
    rows = [
        ["a public address, as `tagfleet aws up` makes it", f"{prices['public_address_hour']:.3f} a worker", "0"],
        ["a private subnet with a NAT gateway", f"{prices['nat_hour']:.3f} a zone", f"{nat:.2f}"],
        [
            "a private subnet with a gateway endpoint for S3 and an interface endpoint for SQS",
            f"{prices['interface_endpoint_hour']:.3f} a zone",
            f"{endpoint:.2f}",
        ],
    ]
    return _table([f"a million photos are {photos_gb:.0f} GB", "$/h", "$ a million"], rows)
