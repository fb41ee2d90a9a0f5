"""Puts log events into CloudWatch Logs, in requests of the largest size.

https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from botocore.exceptions import ClientError

from core.aws.clients import Clients
from core.aws.errors import code_of, translate_errors

_BATCH_BYTES = 1_048_576
_BATCH_EVENTS = 10_000
_BATCH_SPAN_MS = 24 * 3_600_000
_EVENT_BYTES = 256 * 1024 - 26
"""Longer messages are cut. CloudWatch counts 26 bytes for each event besides its message."""
_OVERHEAD = 26

Event = tuple[int, str]
"""Unix milliseconds, message."""


class LogGroup:
    """An existing log group. Its streams are created when something is put into them."""

    def __init__(self, clients: Clients, name: str) -> None:
        self._logs = clients.of("logs")
        self.name = name

    def put(self, stream: str, events: Sequence[Event]) -> int:
        """Store the events, in any order. Returns how many CloudWatch rejected as too old or too new.

        Raises Unavailable (also Misconfigured); some events may be stored then.
        """
        rejected = 0
        for batch in batches(events):
            with translate_errors(f"put logs into {self.name}", "logs"):
                rejected += self._put(stream, batch)
        return rejected

    def _put(self, stream: str, batch: Sequence[Event]) -> int:
        request = {
            "logGroupName": self.name,
            "logStreamName": stream,
            "logEvents": [{"timestamp": at_ms, "message": message} for at_ms, message in batch],
        }
        try:
            answer = self._logs.put_log_events(**request)
        except ClientError as error:
            if code_of(error) != "ResourceNotFoundException":
                raise
            self._make(stream)
            answer = self._logs.put_log_events(**request)
        refused = answer.get("rejectedLogEventsInfo", {})
        first_new = refused.get("tooNewLogEventStartIndex", len(batch))
        first_good = max(refused.get("tooOldLogEventEndIndex", 0), refused.get("expiredLogEventEndIndex", 0))
        return int(first_good + len(batch) - first_new)

    def _make(self, stream: str) -> None:
        try:
            self._logs.create_log_stream(logGroupName=self.name, logStreamName=stream)
        except ClientError as error:
            if code_of(error) != "ResourceAlreadyExistsException":
                raise


def batches(events: Sequence[Event]) -> Iterator[list[Event]]:
    """Yield the events sorted by time, in the largest lists that one request takes. Drop empty messages."""
    batch: list[Event] = []
    size = 0
    for at_ms, text in sorted(events, key=lambda event: event[0]):
        message = _cut(text)
        if not message:
            continue
        weight = len(message.encode()) + _OVERHEAD
        full = size + weight > _BATCH_BYTES or len(batch) == _BATCH_EVENTS
        if batch and (full or at_ms - batch[0][0] >= _BATCH_SPAN_MS):
            yield batch
            batch, size = [], 0
        batch.append((at_ms, message))
        size += weight
    if batch:
        yield batch


def _cut(message: str) -> str:
    encoded = message.encode("utf-8", "replace")
    if len(encoded) <= _EVENT_BYTES:
        return encoded.decode()
    return encoded[: _EVENT_BYTES - 3].decode("utf-8", "ignore") + "…"
