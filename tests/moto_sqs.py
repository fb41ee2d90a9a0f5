"""What moto's SQS does otherwise than AWS documents, put right."""

from __future__ import annotations

from moto.core import utils
from moto.sqs import models

_ahead_s = 0.0


def pass_time(seconds: float) -> None:
    """Set the clock of every queue ahead."""
    global _ahead_s
    _ahead_s += seconds


def apply() -> None:
    models.unix_time = lambda: utils.unix_time() + _ahead_s
    models.unix_time_millis = lambda: utils.unix_time_millis() + 1000 * _ahead_s
