"""Tells the taggers that learn what people decided about tags, by messages on their own queues."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from core.domain.messages import Feedback, encode
from core.errors import PartialSend, Unavailable
from core.storage.ports import Queue
from core.telemetry import logger
from web_tier.catalog.feedback import FeedbackCatalog

_GROUP = 100


class Teaching:
    """`jobs` gives the queue of a pool; `pools` are those whose taggers learn."""

    def __init__(self, jobs: Callable[[str], Queue], catalog: FeedbackCatalog, pools: Sequence[str]) -> None:
        self._jobs = jobs
        self._catalog = catalog
        self._pools = pools

    def tell(self, image_ids: Sequence[str]) -> None:
        """What was just decided about these images. What cannot be sent now is sent by the collector's sweep."""
        if not self._pools:
            return
        try:
            for first in range(0, len(image_ids), _GROUP):
                self._send(self._catalog.untold(_GROUP, image_ids[first : first + _GROUP]))
        except Unavailable as error:
            logger().warning("taggers that learn are told later", reason=str(error))

    def sweep(self) -> None:
        """Everything that was decided and not told. Raises Unavailable."""
        while self._pools and (untold := self._catalog.untold(_GROUP)):
            logger().info("telling taggers what people decided", count=len(untold))
            if not self._send(untold):
                return  # the next sweep tries again

    def _send(self, news: Sequence[Feedback]) -> bool:
        """Whether all of it went to all pools; told twice it changes nothing. Raises Unavailable."""
        unsent: set[int] = set()
        for pool in self._pools if news else ():
            try:
                self._jobs(pool).send([encode(one) for one in news])
            except PartialSend as error:
                unsent |= set(error.unsent)
        self._catalog.mark_told([one for number, one in enumerate(news) if number not in unsent])
        return not unsent
