"""The learn stage: get the image that feedback is about, let the tagger learn, and only then acknowledge.

Feedback may be about images that no worker has decoded before. So every image is decoded in a child process here.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

from app_tier.pipeline.child_decoder import ChildDecoder
from app_tier.pipeline.fetched_bytes import Draining
from app_tier.pipeline.flow import Flow
from app_tier.taggers import FeedbackItem, Learner, Tagger
from core import telemetry
from core.domain.messages import Feedback, log_ids
from core.errors import BadImage, NotFound, Unavailable, Unreadable, WeightsInvalid
from core.storage.originals import Originals
from core.storage.ports import Delivery

MAX_GROUP = 64
"""The most messages that are learned together, by one write."""
_TRIES = 5
_RELEASE_DELAY_S = 10.0

_Message = tuple[Delivery, Feedback]
_Prepared = tuple[Delivery, FeedbackItem | None]
"""None: the image is gone, so there is nothing to learn."""


class Learning:
    """Run by one thread. `tagger` returns the one that serves now."""

    def __init__(self, flow: Flow, originals: Originals, decoder: ChildDecoder, tagger: Callable[[], Tagger]) -> None:
        self._flow = flow
        self._originals = originals
        self._decoder = decoder
        self._tagger = tagger
        self._inlet: queue.Queue[_Message | None] = queue.Queue()

    def put(self, delivery: Delivery, feedback: Feedback) -> None:
        """Add a message of feedback."""
        self._inlet.put((delivery, feedback))

    def close(self) -> None:
        """Make `run` return once what waits is learned."""
        self._inlet.put(None)

    def run(self) -> None:
        """Learn one group after another until `close`."""
        while group := self._next_group():
            if self._flow.draining.is_set():
                self._flow.in_flight.release([delivery for delivery, _ in group])
                continue
            if self._learn_group(group):
                self._flow.health.set("feedback", "")
            self._decoder.close()

    def _next_group(self) -> list[_Message]:
        """Wait for a message, and return it with the messages behind it; none once this is closed."""
        first = self._inlet.get()
        group = [] if first is None else [first]
        while group and len(group) < MAX_GROUP:
            try:
                message = self._inlet.get_nowait()
            except queue.Empty:
                break
            if message is None:
                self.close()  # seen again in the next round, after this group
                break
            group.append(message)
        return group

    def _learn_group(self, group: Sequence[_Message]) -> bool:
        """Learn the group. Return whether all of it was learned; the rest is released."""
        tagger, deliveries = self._tagger(), [delivery for delivery, _ in group]
        if not isinstance(tagger, Learner):  # feedback is sent only once: acknowledged here, it would be lost
            return self._postpone(
                deliveries,
                f"feedback waits for a worker that learns: {tagger.version} does not. Find out why this pool's workers "
                "serve it. Feedback that is delivered too often becomes a dead letter, to be sent again when the pool "
                "learns",
            )
        prepared: list[_Prepared] = []
        try:
            for delivery, feedback in group:
                prepared.append((delivery, self._prepare(tagger, tagger, feedback)))
                if self._flow.draining.is_set():  # a decode may take half a minute, so the others do not wait for it
                    break
        except Draining:
            self._flow.in_flight.release(deliveries)
            return False
        except Unavailable as error:
            return self._postpone(deliveries, str(error))
        if rest := deliveries[len(prepared) :]:
            self._flow.in_flight.release(rest)
        return self._learn(tagger, prepared)

    def _prepare(self, tagger: Tagger, learner: Learner, feedback: Feedback) -> FeedbackItem | None:
        """Return the feedback, with its image's frame if needed. None if the image is gone.

        Raises Unavailable, and Draining while it waits for room.
        """
        known = partial(learner.has_features_of, feedback.image_id)
        if not feedback.opinions or self._flow.retrier.call(known, _TRIES):
            return FeedbackItem(feedback)
        held = self._flow.fetched.image()
        try:
            read = partial(self._originals.of_image, feedback.key, feedback.batch_id, feedback.image_id, held.admit)
            data = self._flow.retrier.call(read, _TRIES).data
            return FeedbackItem(feedback, tagger.preprocess(self._decoder.decode(data, tagger.side)))
        except (NotFound, Unreadable, BadImage, ValueError) as error:  # ValueError: not a key that the store knows
            telemetry.logger().info(
                "feedback is ignored: its image is gone or unreadable", why=str(error), **log_ids(feedback)
            )
            return None
        finally:
            held.release()

    def _learn(self, learner: Learner, prepared: Sequence[_Prepared]) -> bool:
        """Learn and acknowledge. If something is damaged, try each half, until only the damaged image is released."""
        deliveries = [delivery for delivery, _ in prepared]
        try:
            learner.learn([item for _, item in prepared if item is not None])
            self._flow.retrier.call(partial(self._flow.in_flight.acknowledge, deliveries), _TRIES)
        except WeightsInvalid as error:
            half = len(prepared) // 2
            if not half or self._flow.draining.is_set():
                return self._postpone(deliveries, str(error))
            first, second = self._learn(learner, prepared[:half]), self._learn(learner, prepared[half:])
            return first and second
        except Unavailable as error:
            return self._postpone(deliveries, str(error))
        self._flow.count(done=len(prepared))
        return True

    def _postpone(self, deliveries: Sequence[Delivery], why: str) -> Literal[False]:
        telemetry.logger().warning("feedback is released", count=len(deliveries), why=why)
        self._flow.health.set("feedback", why)
        self._flow.in_flight.release(deliveries, _RELEASE_DELAY_S)
        return False
