"""Log an outage once at its beginning and once at its end, however often something is tried meanwhile."""

from __future__ import annotations

from core.errors import Unavailable
from core.telemetry import logger
from core.util.backoff import compute_backoff

_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 5.0


class Outage:
    """A loop's failures in a row. `waits` is logged at the first one, `recovered` at the next success."""

    def __init__(self, waits: str, recovered: str) -> None:
        self._waits = waits
        self._recovered = recovered
        self._failures = 0

    def record(self, error: Unavailable) -> float:
        """Record a failure; return the pause before the next try in seconds, which grows from 0.2 to 5."""
        if not self._failures:
            logger().error(f"{self._waits}: something does not answer", reason=str(error))
        self._failures += 1
        return compute_backoff(self._failures - 1, base_s=_PAUSE_S, cap_s=_LONGEST_PAUSE_S)

    def end(self) -> None:
        """Record a success."""
        if self._failures:
            logger().info(self._recovered, tries=self._failures)
            self._failures = 0
