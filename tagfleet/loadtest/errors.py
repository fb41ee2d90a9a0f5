"""What can keep a load test from being run or read."""

from __future__ import annotations

from core.errors import TagfleetError


class LoadTestError(TagfleetError):
    """A load test that cannot be run as it was asked for, or a report that cannot be read."""
