"""The fetch stage: whether an image is still to be tagged, and its bytes."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from app_tier.pipeline.cancellation import Cancelled
from app_tier.pipeline.in_flight import Held
from app_tier.pipeline.item import Work
from app_tier.pipeline.result_writer import Finished, Outbox, Trouble
from core import telemetry
from core.domain.messages import log_ids
from core.errors import NotFound, Unavailable, Unreadable
from core.storage.originals import Originals

_TRIES = 5
_GIVE_BACK_DELAY_S = 10.0


class Fetching:
    """`found` takes a result that an earlier delivery stored, `failed` an image that cannot be had, and why.

    `goes` is told of work that ends here without a result of its own.
    """

    def __init__(
        self,
        originals: Originals,
        held: Held,
        trouble: Trouble,
        cancelled: Cancelled,
        outbox: Outbox,
        *,
        found: Callable[[Finished], None],
        failed: Callable[[Work, str], None],
        goes: Callable[[Work], None],
    ) -> None:
        self._originals = originals
        self._held = held
        self._trouble = trouble
        self._cancelled = cancelled
        self._outbox = outbox
        self._found = found
        self._failed = failed
        self._goes = goes

    def is_wanted(self, work: Work) -> bool:
        """Whether it is still to be tagged: its batch is not cancelled, and no earlier delivery stored its result."""
        try:
            return not (self._dropped(work) or self._finished_before(work))
        except Unavailable as error:
            self._postpone(work, error)
            return False

    def read(self, work: Work) -> bool:
        """Whether the image's bytes are in `work` now; otherwise it has failed, or is given back."""
        started = time.perf_counter()
        try:
            work.job, work.data = self._trouble.ride_out(partial(self._originals.of_job, work.job), _TRIES)
        except (NotFound, ValueError):  # ValueError: the store knows no such keys
            self._failed(work, f"its bytes are no longer in {work.job.place}")
        except Unreadable as error:
            self._failed(work, str(error))
        except Unavailable as error:
            self._postpone(work, error)
        else:
            work.took("fetch", started)
            return True
        return False

    def _dropped(self, work: Work) -> bool:
        """Whether its batch was cancelled; then it is acknowledged without a result, which nobody would look at."""
        if not self._cancelled.says(work.job.batch_id):
            return False
        self._trouble.ride_out(lambda: self._held.acknowledge([work.delivery]), _TRIES)
        self._goes(work)
        return True

    def _finished_before(self, work: Work) -> bool:
        """Whether an earlier delivery stored the result and was cut off before it could acknowledge."""
        if work.delivery.receive_count == 1:
            return False
        result = self._trouble.ride_out(partial(self._outbox.found, work.job), _TRIES)
        if result is not None:
            self._goes(work)
            self._found(Finished(work.delivery, result, stored=True, store_only=work.job.store_only))
        return result is not None

    def _postpone(self, work: Work, error: Unavailable) -> None:
        telemetry.logger().warning("an image is given back", why=str(error), **log_ids(work.job))
        self._goes(work)
        self._held.give_back([work.delivery], _GIVE_BACK_DELAY_S)
