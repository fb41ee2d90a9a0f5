"""Sends the jobs of a run's images, in several requests at once where a request carries few."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from core.domain.addresses import split_address
from core.domain.messages import MAX_NAME, Job, encode
from core.errors import PartialSend
from core.storage.packs import image_id
from core.storage.ports import Queue
from core.storage.sending import Sending
from core.util.backoff import retry
from tagfleet.bulk.state import RunFile

_SENDERS = 16
"""One request after the other, ten jobs each, would feed 330 images/s at 30 ms a request."""
_TRIES = 5
_PAUSE_S = 0.1


def send_jobs(
    queue: Queue, file: RunFile, number: int, uris: Sequence[str], positions: Sequence[int], clock: Callable[[], float]
) -> None:
    """Send the jobs of these positions of a portion, whose addresses are `uris`. Raises Unavailable."""
    state, now = file.state, clock()
    bodies = [
        encode(
            Job(
                batch_id=file.run_id,
                image_id=image_id(number, at),
                key=uris[at],
                name=split_address(uris[at])[1][-MAX_NAME:],
                tagger=state.pool,
                submitted_at=now,
                options=state.options,
                store_only=True,
                pack=True,
            )
        )
        for at in positions
    ]
    if queue.per_request == 1:
        _send(queue, bodies)
        return
    with ThreadPoolExecutor(_SENDERS) as senders:
        groups = [bodies[at : at + queue.per_request] for at in range(0, len(bodies), queue.per_request)]
        for _ in senders.map(lambda group: _send(queue, group), groups):
            pass  # raises the first error


def _send(queue: Queue, bodies: Sequence[str]) -> None:
    retry(Sending(queue, bodies).step, PartialSend, tries=_TRIES, base_s=_PAUSE_S)
