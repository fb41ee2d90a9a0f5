"""Parses messages from the queue: each is a job, feedback, or a bucket's notification of new files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from app_tier.pipeline.in_flight import InFlight
from app_tier.pipeline.retrying import Retrier, send_all
from core import telemetry
from core.domain.messages import Feedback, Job, encode
from core.domain.notifications import parse_message
from core.errors import BadMessage, Unavailable
from core.storage.ports import Delivery, Queue


class MessageParser:
    """Parses messages, and finishes messages without work for this worker. `tagger` is named in jobs made here."""

    def __init__(self, jobs: Queue, in_flight: InFlight, retrier: Retrier, tagger: str) -> None:
        self._jobs = jobs
        self._in_flight = in_flight
        self._retrier = retrier
        self._tagger = tagger

    def parse(self, deliveries: Sequence[Delivery]) -> Iterator[tuple[Delivery, Job | Feedback]]:
        """Yield each job or feedback with its message.

        Other messages are acknowledged, or all that are left are released if this worker is told to stop.
        """
        for number, delivery in enumerate(deliveries):
            try:
                work = self._parse(delivery)
            except Unavailable:
                self._in_flight.release(deliveries[number:])
                return
            if work is not None:
                yield delivery, work

    def _parse(self, delivery: Delivery) -> Job | Feedback | None:
        """Return the work, or None if the message is finished here. Raises Unavailable."""
        try:
            asked = parse_message(delivery.body, self._tagger)
        except BadMessage as error:
            telemetry.logger().error("a message is not a job: it becomes a dead letter", why=str(error))
            self._in_flight.release([delivery])
            return None
        for reason in asked.ignored:
            telemetry.logger().debug("a notification is ignored", why=reason)
        if asked.feedback is not None:
            return asked.feedback
        if len(asked.jobs) == 1:
            return asked.jobs[0]
        self._split(delivery, asked.jobs)
        return None

    def _split(self, delivery: Delivery, jobs: Sequence[Job]) -> None:
        """Send each file's job as a message of its own. If a crash sends them twice, they do no harm."""
        send_all(self._jobs, [encode(job) for job in jobs], self._retrier)
        self._retrier.call(partial(self._in_flight.acknowledge, [delivery]))
