"""From what comes off the queue to what it asks for: a job, a bucket's notification of new files, or feedback."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from app_tier.pipeline.in_flight import Held
from app_tier.pipeline.result_writer import Trouble, send_all
from core import telemetry
from core.domain.messages import Feedback, Job, encode
from core.domain.notifications import parse_message
from core.errors import BadMessage, Unavailable
from core.storage.ports import Delivery, Queue


class Admission:
    """`tagger` names, in jobs made here, who tags."""

    def __init__(self, jobs: Queue, held: Held, trouble: Trouble, tagger: str) -> None:
        self._jobs = jobs
        self._held = held
        self._trouble = trouble
        self._tagger = tagger

    def asked(self, deliveries: Sequence[Delivery]) -> Iterator[tuple[Delivery, Job | Feedback]]:
        """What is to do, each with its message. The rest is acknowledged, or given back when told to stop."""
        for number, delivery in enumerate(deliveries):
            try:
                asked = self._asked(delivery)
            except Unavailable:
                self._held.give_back(deliveries[number:])
                return
            if asked is not None:
                yield delivery, asked

    def _asked(self, delivery: Delivery) -> Job | Feedback | None:
        """None where nothing is left to do with this message. Raises Unavailable."""
        try:
            asked = parse_message(delivery.body, self._tagger)
        except BadMessage as error:
            telemetry.logger().error("a message that is no job goes to the dead letters", why=str(error))
            self._held.give_back([delivery])
            return None
        for reason in asked.ignored:
            telemetry.logger().debug("a notification is ignored", why=reason)
        if asked.feedback is not None:
            return asked.feedback
        if len(asked.jobs) == 1:
            return asked.jobs[0]
        self._part(delivery, asked.jobs)
        return None

    def _part(self, delivery: Delivery, jobs: Sequence[Job]) -> None:
        """Each file becomes a message of its own, with a life of its own; doubled by a crash, they do no harm."""
        send_all(self._jobs, [encode(job) for job in jobs], self._trouble)
        self._trouble.ride_out(partial(self._held.acknowledge, [delivery]))
