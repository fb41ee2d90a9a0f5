"""The whole way, as a client sees it: uploads over HTTP until the last result is in the catalogue."""

from __future__ import annotations

import time
from collections.abc import Sequence
from io import BytesIO

from tagfleet.client import Batch, Client

_SHORTEST_S, _LONGEST_S = 0.05, 1.0  # between looks, which cost what they measure: more often towards the end


def tag(client: Client, photos: Sequence[tuple[str, bytes]]) -> tuple[Batch, float]:
    """The completed batch, and the seconds from its creation to its last result. Raises RuntimeError on a loss."""
    started = time.perf_counter()
    batch = client.create_batch()
    # without the check, which would recognise the photos of the round before and send nothing
    client.upload(batch, [(name, BytesIO(data)) for name, data in photos], check=False)
    client.close(batch)
    while (batch := client.batch(batch)).status != "completed":
        time.sleep(min(max((batch.eta_s or 0.0) / 4, _SHORTEST_S), _LONGEST_S))
    took = time.perf_counter() - started
    if (batch.total, batch.completed, batch.failed) != (len(photos), len(photos), 0):
        raise RuntimeError(f"{len(photos)} photos were sent, the batch has {batch}")
    return batch, took
