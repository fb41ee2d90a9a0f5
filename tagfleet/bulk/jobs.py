"""Sends the jobs of a run's images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from core.domain.addresses import split_address
from core.domain.messages import MAX_NAME, Job, encode
from core.errors import PartialSend
from core.storage.packs import image_id
from core.storage.ports import Queue
from core.storage.sending import Sending
from core.util.backoff import retry
from tagfleet.bulk.state import RunFile

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
    retry(Sending(queue, bodies).step, PartialSend, tries=_TRIES, base_s=_PAUSE_S)
