"""The stage that feedback goes to: see the image, let the tagger learn, and only then acknowledge.

Feedback may come for images that nobody has decoded before, so all of it is decoded in a process of its own.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

from app_tier.pipeline.in_flight import Held
from app_tier.pipeline.isolation import IsolatedDecoder
from app_tier.pipeline.result_writer import Trouble
from app_tier.taggers import FeedbackItem, Learner, Tagger
from core import telemetry
from core.domain.messages import Feedback, log_ids
from core.errors import BadImage, NotFound, Unavailable, Unreadable, WeightsInvalid
from core.storage.originals import Originals
from core.storage.ports import Delivery

LESSONS = 64
"""So many are learned at once, by one write."""
_TRIES = 5
_GIVE_BACK_DELAY_S = 10.0

_Told = tuple[Delivery, Feedback]


class Learning:
    """`tagger` gives the one that works now; `learned` is told how many messages were taken in."""

    def __init__(
        self,
        *,
        tagger: Callable[[], Tagger],
        originals: Originals,
        held: Held,
        trouble: Trouble,
        isolated: IsolatedDecoder,
        draining: threading.Event,
        learned: Callable[[int], None],
    ) -> None:
        self._tagger = tagger
        self._originals = originals
        self._held = held
        self._trouble = trouble
        self._isolated = isolated
        self._draining = draining
        self._learned = learned
        self._told: queue.Queue[_Told | None] = queue.Queue()

    def put(self, delivery: Delivery, feedback: Feedback) -> None:
        self._told.put((delivery, feedback))

    def close(self) -> None:
        self._told.put(None)

    def run(self) -> None:
        """Until `close`."""
        while group := self._next():
            if self._draining.is_set():
                self._held.give_back([delivery for delivery, _ in group])
                continue
            if self._take_in(group):
                self._trouble.stands("feedback", "")
            self._isolated.close()

    def _next(self) -> list[_Told]:
        """The first to come, and what waits beside it."""
        first = self._told.get()
        group = [] if first is None else [first]
        while group and len(group) < LESSONS:
            try:
                told = self._told.get_nowait()
            except queue.Empty:
                break
            if told is None:
                self.close()  # for the next round: this one is finished first
                break
            group.append(told)
        return group

    def _take_in(self, group: Sequence[_Told]) -> bool:
        """Whether all of it was learned: what was not is given back."""
        tagger, deliveries = self._tagger(), [delivery for delivery, _ in group]
        if not isinstance(tagger, Learner):  # what is sent is sent once: acknowledged here, it would be lost
            return self._not_now(
                deliveries,
                f"feedback waits for a worker that learns: {tagger.version} does not. See why the pool's workers have "
                "it; what comes too often is a dead letter, to be sent again when the pool learns",
            )
        lessons: list[tuple[Delivery, FeedbackItem | None]] = []
        try:
            for delivery, feedback in group:
                lessons.append((delivery, self._lesson(tagger, tagger, feedback)))
                if self._draining.is_set():  # a decode may take half a minute: the others are not waited for
                    break
        except Unavailable as error:
            return self._not_now(deliveries, str(error))
        if rest := deliveries[len(lessons) :]:
            self._held.give_back(rest)
        return self._teach(tagger, lessons)

    def _teach(self, learner: Learner, lessons: Sequence[tuple[Delivery, FeedbackItem | None]]) -> bool:
        """In halves where something is damaged, down to the one image it is of: that one alone is given back."""
        deliveries = [delivery for delivery, _ in lessons]
        try:
            learner.learn([lesson for _, lesson in lessons if lesson is not None])
            self._trouble.ride_out(partial(self._held.acknowledge, deliveries), _TRIES)
        except WeightsInvalid as error:
            half = len(lessons) // 2
            if not half or self._draining.is_set():
                return self._not_now(deliveries, str(error))
            first, second = self._teach(learner, lessons[:half]), self._teach(learner, lessons[half:])
            return first and second
        except Unavailable as error:
            return self._not_now(deliveries, str(error))
        self._learned(len(lessons))
        return True

    def _not_now(self, deliveries: Sequence[Delivery], why: str) -> Literal[False]:
        telemetry.logger().warning("feedback is given back", count=len(deliveries), why=why)
        self._trouble.stands("feedback", why)
        self._held.give_back(deliveries, _GIVE_BACK_DELAY_S)
        return False

    def _lesson(self, tagger: Tagger, learner: Learner, feedback: Feedback) -> FeedbackItem | None:
        """None where the image cannot be had and is not remembered. Raises Unavailable."""
        if not feedback.opinions or self._trouble.ride_out(partial(learner.has_features_of, feedback.image_id), _TRIES):
            return FeedbackItem(feedback)
        try:
            of_image = partial(self._originals.of_image, feedback.key, feedback.batch_id, feedback.image_id)
            data = self._trouble.ride_out(of_image, _TRIES).data
            return FeedbackItem(feedback, tagger.preprocess(self._isolated.decode(data, tagger.side)))
        except (NotFound, Unreadable, BadImage, ValueError) as error:  # ValueError: the store knows no such keys
            telemetry.logger().info(
                "feedback on an image that is gone teaches nothing", why=str(error), **log_ids(feedback)
            )
            return None
