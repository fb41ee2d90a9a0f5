"""The last step of an image: store the result, then send it, then acknowledge the job. Always in this order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from app_tier.pipeline.in_flight import InFlight
from app_tier.pipeline.retrying import Retrier, send_all
from core.domain.messages import Job, Result, encode, encode_output
from core.errors import Unavailable
from core.storage import layout, packs
from core.storage.ports import Delivery, ObjectStore, Queue
from core.storage.results import load_result


@dataclass(frozen=True, slots=True)
class FinishedItem:
    """An image with its result, still to be written."""

    delivery: Delivery
    result: Result
    stored: bool = False
    """The result is in the store already: an earlier delivery got that far."""
    store_only: bool = False
    """The result is not sent: the sender of the job looks for it in the store."""
    pack: bool = False
    """The result may be stored in one object with others of its run."""


class ResultWriter:
    """Writes groups of results. While the store or a queue is unavailable, it keeps them and tries again."""

    def __init__(self, store: ObjectStore, results: Queue, in_flight: InFlight, retrier: Retrier) -> None:
        self._store = store
        self._results = results
        self._in_flight = in_flight
        self._retrier = retrier

    def write(self, group: Sequence[FinishedItem]) -> bool:
        """Write the group and acknowledge its messages, all of them after all results are stored.

        Returns False if this worker was told to stop before that; then the messages are released.
        """
        deliveries = [item.delivery for item in group]
        try:
            self._store_results([item for item in group if not item.stored])
            sent = [item.result for item in group if not item.store_only]
            send_all(self._results, [encode_output(result, _key(result)) for result in sent], self._retrier)
            self._retrier.call(lambda: self._in_flight.acknowledge(deliveries))
        except Unavailable:
            self._in_flight.release(deliveries)
            return False
        return True

    def find_stored(self, job: Job) -> Result | None:
        """Return the result of this image if an earlier delivery stored it. Raises Unavailable.

        Packs are not searched: an image that comes back is tagged again, which does no harm.
        """
        return None if job.store_only and job.pack else load_result(job, self._store)

    def _store_results(self, group: Sequence[FinishedItem]) -> None:
        single: dict[str, bytes] = {}
        packed: list[tuple[Result, str]] = []
        for item in group:
            text = encode(item.result)
            if item.pack and packs.place_of(item.result.image_id):
                packed.append((item.result, text))
            else:
                single[_key(item.result)] = text.encode()
        self._put(single, "application/json")
        self._put(packs.make_packs(packed), packs.CONTENT_TYPE)

    def _put(self, objects: Mapping[str, bytes], content_type: str) -> None:
        if objects:
            self._retrier.call(partial(self._store.put_all, objects, content_type=content_type))


def _key(result: Result) -> str:
    return layout.result_key(result.batch_id, result.image_id)
