"""Sends what webhooks are to be told, and tries again with growing pauses. Runs in the collector's process."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

from core.errors import Unavailable
from core.telemetry import logger
from web_tier.catalog.webhooks import ANNOUNCED_FOR_S, Attempt, Delivery, WebhookCatalog
from web_tier.services.serializers import serialize_webhook_event
from web_tier.services.webhook_client import DeliveryOutcome, WebhookClient

LOOK_S = 1.0
RETRY_AFTER_S = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""The pauses between attempts: what Standard Webhooks recommends, three days in all."""

_JITTER = (0.9, 1.1)
_ALL_EVERY = 3600
_RECENT_S = 600.0
"""Longer than the end of a batch is on its way into the catalogue."""
_GONE = 410


class WebhookSender:
    """`clock` gives Unix seconds. Each event is sent at least once, to each receiver under one id."""

    def __init__(
        self,
        catalog: WebhookCatalog,
        webhook_client: WebhookClient,
        clock: Callable[[], float],
        *,
        pause_s: float = LOOK_S,
    ) -> None:
        self._catalog = catalog
        self._webhook_client = webhook_client
        self._clock = clock
        self._pause_s = pause_s

    def run(self, stop: threading.Event) -> None:
        """Send until `stop` is set. While the catalogue does not answer it waits."""
        looks, trouble = 0, False
        while not stop.is_set():
            try:
                if looks % _ALL_EVERY == 0:
                    self._catalog.forget(self._clock())
                    self.look(stop)
                else:
                    self.look(stop, over_s=_RECENT_S)
                looks, trouble = looks + 1, False
            except Unavailable as error:
                if not trouble:
                    logger().error("webhooks wait: something does not answer", reason=str(error))
                trouble = True
            except Exception as error:  # noqa: BLE001  # a thread has no caller; what is due now is due again in a minute
                logger().error("webhooks failed", exc_info=error)
            stop.wait(self._pause_s)

    def look(self, stop: threading.Event | None = None, *, over_s: float = ANNOUNCED_FOR_S) -> int:
        """Find what is due and make one attempt at each; how many were made. Raises Unavailable.

        Batches count that ended in the last `over_s` seconds. A receiver that just failed is left alone until the next
        look, so that it does not hold up the others for longer than one timeout.
        """
        while self._catalog.announce(serialize_webhook_event, self._clock(), over_s):
            pass
        tired: set[str] = set()
        attempts = 0
        for delivery in self._catalog.due(self._clock()):
            if stop is not None and stop.is_set():
                break
            if delivery.webhook_id in tired or not self._catalog.claim(delivery, self._clock()):
                continue
            attempts += 1
            if not self._attempt(delivery):
                tired.add(delivery.webhook_id)
        return attempts

    def _attempt(self, delivery: Delivery) -> bool:
        outcome = self._webhook_client.post(delivery.url, delivery.secret, delivery.id, delivery.body.encode())
        now = self._clock()
        again = None if outcome.arrived else self._again(delivery, outcome, now)
        self._catalog.record_attempt(delivery, Attempt(outcome.status, outcome.error, now), next_at=again)
        return outcome.arrived

    def _again(self, delivery: Delivery, outcome: DeliveryOutcome, now: float) -> float | None:
        if outcome.status == _GONE or delivery.attempts >= len(RETRY_AFTER_S):
            logger().error(
                "a webhook was given up", webhook=delivery.webhook_id, message=delivery.id, reason=outcome.error
            )
            return None
        pause: float = RETRY_AFTER_S[delivery.attempts] * random.uniform(*_JITTER)  # noqa: S311  # jitter
        return now + pause
