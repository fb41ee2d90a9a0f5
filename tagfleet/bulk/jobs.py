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
    queue: Queue,
    file: RunFile,
    number: int,
    uris: Sequence[str],
    positions: Sequence[int],
    accepted: set[int],
    clock: Callable[[], float],
) -> None:
    """Send the jobs of these positions of a portion, whose addresses are `uris`. Raises Unavailable.

    Adds the positions of each request to `accepted` once the queue has it, so that after an error the caller sends only
    the others.
    """
    now = clock()

    def send(group: Sequence[int]) -> None:
        bodies = [encode(_job(file, number, at, uris[at], now)) for at in group]
        retry(Sending(queue, bodies).step, PartialSend, tries=_TRIES, base_s=_PAUSE_S)
        accepted.update(group)

    if queue.per_request == 1:
        send(positions)
        return
    with ThreadPoolExecutor(_SENDERS) as senders:
        groups = [positions[at : at + queue.per_request] for at in range(0, len(positions), queue.per_request)]
        for _ in senders.map(send, groups):
            pass  # raises the first error


def _job(file: RunFile, number: int, position: int, uri: str, now: float) -> Job:
    return Job(
        batch_id=file.run_id,
        image_id=image_id(number, position),
        key=uri,
        name=split_address(uri)[1][-MAX_NAME:],
        tagger=file.state.pool,
        submitted_at=now,
        options=file.state.options,
        store_only=True,
        pack=True,
    )
