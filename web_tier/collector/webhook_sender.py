"""Send webhook messages, and retry with growing pauses. Runs in the collector's process."""

from __future__ import annotations

import threading
from collections.abc import Callable

from core.errors import Unavailable
from core.telemetry import logger
from core.util.backoff import compute_backoff
from web_tier.catalog.webhooks import ANNOUNCED_FOR_S, Attempt, Delivery, WebhookCatalog
from web_tier.services.outage import Outage
from web_tier.services.serializers import serialize_webhook_event
from web_tier.services.webhook_client import DeliveryOutcome, WebhookClient

POLL_S = 1.0
RETRY_AFTER_S = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""The pauses between attempts, as Standard Webhooks recommends: three days in all. Not a plain doubling."""

_JITTER = 0.1
_FULL_EVERY = 3600
"""One pass in this number looks for batches that ended in the last week; the others look back ten minutes."""
_RECENT_S = 600.0
"""Longer than it takes the end of a batch to become visible in the catalogue."""
_GONE = 410


class WebhookSender:
    """Sends each event at least once, with the same id at each attempt. `clock` returns Unix seconds."""

    def __init__(
        self,
        catalog: WebhookCatalog,
        webhook_client: WebhookClient,
        clock: Callable[[], float],
        *,
        pause_s: float = POLL_S,
    ) -> None:
        self._catalog = catalog
        self._webhook_client = webhook_client
        self._clock = clock
        self._pause_s = pause_s

    def run(self, stop: threading.Event) -> None:
        """Send until `stop` is set. Waits while the catalogue does not answer."""
        passes, outage = 0, Outage("webhooks wait", "webhooks are sent again")
        while not stop.is_set():
            try:
                if passes % _FULL_EVERY == 0:
                    self._catalog.forget(self._clock())
                    self.send_due(stop)
                else:
                    self.send_due(stop, over_s=_RECENT_S)
                passes += 1
                outage.end()
            except Unavailable as error:
                outage.record(error)
            except Exception as error:  # noqa: BLE001  # a thread has no caller; a claimed delivery is due again in a minute
                logger().error("sending webhooks failed", exc_info=error)
            stop.wait(self._pause_s)

    def send_due(self, stop: threading.Event | None = None, *, over_s: float = ANNOUNCED_FOR_S) -> int:
        """Announce batches that ended in the last `over_s` seconds, and make one attempt at each delivery that is due.

        Returns the number of attempts. A receiver that fails is skipped until the next call, so that it holds up the
        others for one timeout at most. Raises Unavailable.
        """
        while self._catalog.announce(serialize_webhook_event, self._clock(), over_s):
            pass
        failing: set[str] = set()
        attempts = 0
        for delivery in self._catalog.due(self._clock()):
            if stop is not None and stop.is_set():
                break
            if delivery.webhook_id in failing or not self._catalog.claim(delivery, self._clock()):
                continue
            attempts += 1
            if not self._attempt(delivery):
                failing.add(delivery.webhook_id)
        return attempts

    def _attempt(self, delivery: Delivery) -> bool:
        outcome = self._webhook_client.post(delivery.url, delivery.secret, delivery.id, delivery.body.encode())
        now = self._clock()
        next_at = None if outcome.succeeded else self._next_attempt_at(delivery, outcome, now)
        self._catalog.record_attempt(delivery, Attempt(outcome.status, outcome.error, now), next_at=next_at)
        return outcome.succeeded

    def _next_attempt_at(self, delivery: Delivery, outcome: DeliveryOutcome, now: float) -> float | None:
        if outcome.status == _GONE or delivery.attempts >= len(RETRY_AFTER_S):
            logger().error(
                "gave up on a webhook message", webhook=delivery.webhook_id, message=delivery.id, reason=outcome.error
            )
            return None
        pause_s = RETRY_AFTER_S[delivery.attempts]
        return now + compute_backoff(0, base_s=pause_s, cap_s=pause_s, jitter=_JITTER)
