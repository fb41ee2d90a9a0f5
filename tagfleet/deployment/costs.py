"""Print the cost tables of docs/aws.md: `python -m tagfleet.deployment.costs`.

1,000 images: price/h ÷ (images/s × 3,600 s/h) × 1,000, for workers that are never idle; requests are extra. An idle
month: requests a minute × 43,200 minutes (30 days) × the price of each request.
"""

from __future__ import annotations

from collections.abc import Iterator

import click

from core.aws.prices import table
from tagfleet.request_prices import LIST, PUT, SQS

_TYPES = ("g4dn.xlarge", "g5.xlarge", "g6.xlarge", "c7i.xlarge", "m7i.xlarge")
_SPEEDS = (25, 50, 100, 200, 400)

_IDLE = {
    "control loop, a tick every 5 s: a PUT and a LIST to S3 and a request to SQS each": 12 * (PUT + LIST + SQS),
    "collector, a minute: 6 looks for results, 20 counts of SQS, 4 LISTs of the workers": 26 * SQS + 4 * LIST,
    "web process, a minute: 12 LISTs of the workers": 12 * LIST,
}
"""$ a minute for a deployment with one pool and no work. The requests were counted; those of the control loop by
`python -m bench controller`.
"""
_MINUTES = 43_200
_LOGS_PER_GB = 0.50 + 0.03
"""$ to ingest a GB into CloudWatch Logs and keep it for a month; us-east-1, June 2025."""
_LOGS_GB = 10_000 * 2e-6 + 0.1
"""GB of logs: 10,000 worker lifetimes of 2 kB each, systemd's lines included, and 100 MB of a host."""


def per_thousand(price: float, images_per_s: float) -> float:
    """Return $ for 1,000 images on an instance that costs `price` $/h."""
    return price / (images_per_s * 3600) * 1000


def lines() -> Iterator[str]:
    """Yield the table for 1,000 images, then the rows of the idle-month table that consist of requests."""
    prices = table()
    yield f"| on-demand, $ per 1,000 images at | $/h | {' | '.join(f'{speed}/s' for speed in _SPEEDS)} |"
    yield f"|---|---|{'---|' * len(_SPEEDS)}"
    for type in _TYPES:
        cells = " | ".join(f"{per_thousand(prices[type], speed):.4f}" for speed in _SPEEDS)
        yield f"| {type} | {prices[type]:.4f} | {cells} |"
    logs = _LOGS_GB * _LOGS_PER_GB
    yield f"| logs of 10,000 workers' lives, 2 kB each, and of a host, 100 MB | {logs:.2f} |"
    for what, dollars in _IDLE.items():
        yield f"| {what} | {dollars * _MINUTES:.2f} |"


if __name__ == "__main__":
    for line in lines():
        click.echo(line)
