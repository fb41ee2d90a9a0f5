"""What a thousand images cost, by instance type and speed: `python -m tagfleet.deployment.costs` prints the table.

price/h ÷ (images/s × 3,600 s/h) × 1,000, for workers that are never idle. Requests come on top.
"""

from __future__ import annotations

from collections.abc import Iterator

import click

from core.aws.prices import table

_TYPES = ("g4dn.xlarge", "g5.xlarge", "g6.xlarge", "c7i.xlarge", "m7i.xlarge")
_SPEEDS = (25, 50, 100, 200, 400)
REQUESTS = 2_000 * 5e-6 + 1_000 * 0.4e-6 + 630 * 0.4e-6
"""$ for 1,000 images: two PUTs and a GET of S3 each, and 0.63 requests to SQS; us-east-1, June 2025."""


def per_thousand(price: float, images_per_s: float) -> float:
    """$ for 1,000 images on an instance of `price` $/h."""
    return price / (images_per_s * 3600) * 1000


def lines() -> Iterator[str]:
    """The table of docs/aws.md."""
    prices = table()
    yield f"| on-demand, $ per 1,000 images at | $/h | {' | '.join(f'{speed}/s' for speed in _SPEEDS)} |"
    yield f"|---|---|{'---|' * len(_SPEEDS)}"
    for type in _TYPES:
        cells = " | ".join(f"{per_thousand(prices[type], speed):.4f}" for speed in _SPEEDS)
        yield f"| {type} | {prices[type]:.4f} | {cells} |"


if __name__ == "__main__":
    for line in lines():
        click.echo(line)
