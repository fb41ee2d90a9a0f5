"""Publish people's tag decisions to adaptive taggers, as messages on the queues of their pools."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from core.domain.messages import Feedback, encode
from core.errors import Unavailable
from core.storage.ports import Queue
from core.telemetry import logger
from web_tier.catalog.feedback import FeedbackCatalog
from web_tier.services.dispatch import send_most

_GROUP = 100


class FeedbackPublisher:
    """Sends feedback. `jobs` returns the queue of a pool; `pools` names the pools with an adaptive tagger."""

    def __init__(self, jobs: Callable[[str], Queue], catalog: FeedbackCatalog, pools: Sequence[str]) -> None:
        self._jobs = jobs
        self._catalog = catalog
        self._pools = pools

    def publish(self, image_ids: Sequence[str]) -> None:
        """Send what was just decided about these images. The collector's sweep sends what cannot be sent now."""
        if not self._pools:
            return
        try:
            for first in range(0, len(image_ids), _GROUP):
                self._send(self._catalog.unpublished(_GROUP, image_ids[first : first + _GROUP]))
        except Unavailable as error:
            logger().warning("feedback could not be sent; the next sweep sends it", reason=str(error))

    def sweep(self) -> None:
        """Send all unpublished feedback. Raises Unavailable."""
        while self._pools and (unpublished := self._catalog.unpublished(_GROUP)):
            logger().info("sending unpublished feedback", count=len(unpublished))
            if not self._send(unpublished):
                return  # the next sweep tries again

    def _send(self, feedback: Sequence[Feedback]) -> bool:
        """Send to every pool and return whether all of it was sent. A repeated message changes nothing."""
        unsent: set[int] = set()
        for pool in self._pools if feedback else ():
            unsent |= send_most(self._jobs(pool), [encode(one) for one in feedback])
        self._catalog.mark_published([one for number, one in enumerate(feedback) if number not in unsent])
        return not unsent
