"""The stand-in for workers: it takes jobs off the queues and gives the tags that a test chooses."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from core.domain.messages import Box, Job, Result, Tag, Timings, decode_job, encode, encode_output, is_feedback
from core.errors import NotFound
from core.storage import layout
from core.storage.ports import Delivery, Queue
from core.wiring import Backend

WORKER = "stand-in"
_AT_ONCE = 100


@dataclass(frozen=True)
class Photo:
    """A photo to tag, with the options of its batch."""

    name: str
    content: bytes
    batch_id: str
    image_id: str
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Tagged:
    """An answer with more than tags and confidences: a caption, or boxes (x, y, width, height, each 0..1) by tag."""

    tags: Mapping[str, float | None] = field(default_factory=dict)
    caption: str | None = None
    boxes: Mapping[str, Sequence[Sequence[float]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Failed:
    """An answer for a photo that cannot be tagged, with the error that its owner reads."""

    error: str


Answer = Mapping[str, float | None] | Tagged | Failed
Tagger = Callable[[Photo], Answer | None]
"""Tags a photo, or returns None: then the photo waits until the test tags it."""


@dataclass(frozen=True)
class _Held:
    queue: Queue
    delivery: Delivery
    job: Job


class TaggerStandIn:
    """Works like a worker: stores the result, sends it to the results queue, acknowledges the job.

    It holds photos for which `answer` returns None until `finish` is called. With `at_work` set to False, jobs stay on
    their queues. Thread-safe.
    """

    def __init__(
        self, backend: Backend, pools: Sequence[str], clock: Callable[[], float], answer: Tagger | None
    ) -> None:
        self.answer: Tagger = answer or (lambda _photo: None)
        self.at_work = True
        self._backend = backend
        self._queues = {pool: backend.jobs(pool) for pool in pools}
        self._clock = clock
        self._lock = threading.RLock()
        self._held: dict[str, _Held] = {}

    @property
    def waiting(self) -> list[str]:
        """The names of the photos that wait for the test, in order of arrival."""
        with self._lock:
            return [held.job.name for held in self._held.values()]

    def work(self) -> int:
        """Take all waiting jobs, and finish the photos that `answer` answers; return how many it finished."""
        answered = 0
        with self._lock:
            if not self.at_work:
                return 0
            for held in list(self._held.values()):
                answered += self._try(held)
            for pool, queue in self._queues.items():
                while deliveries := queue.receive(_AT_ONCE, 0):
                    answered += sum(self._take(pool, queue, delivery) for delivery in deliveries)
        return answered

    def finish(self, name: str, answer: Answer) -> bool:
        """Answer for the latest waiting photo of this name; return whether there was one."""
        with self._lock:
            held = next((one for one in reversed(self._held.values()) if one.job.name == name), None)
            if held is not None:
                self._finish(held, answer)
            return held is not None

    def rest(self) -> None:
        """Stop working, and return every held job to its queue."""
        with self._lock:
            self.at_work = False
            for held in self._held.values():
                held.queue.set_visibility([held.delivery], 0)
            self._held.clear()

    def give_up(self, name: str) -> bool:
        """Make the job of this photo a dead letter, as if it had crashed one worker after the other."""
        with self._lock:
            held = next((one for one in reversed(self._held.values()) if one.job.name == name), None)
            if held is None:
                return False
            del self._held[held.job.image_id]
            held.queue.set_visibility([held.delivery], 0)
            while again := [one for one in held.queue.receive(_AT_ONCE, 0) if one.body == held.delivery.body]:
                held.queue.set_visibility(again, 0)
            return True

    def _take(self, pool: str, queue: Queue, delivery: Delivery) -> bool:
        if is_feedback(delivery.body):
            queue.delete([delivery])
            return False
        held = _Held(queue, delivery, decode_job(delivery.body))
        self._held[held.job.image_id] = held
        return self._try(held)

    def _try(self, held: _Held) -> bool:
        job = held.job
        try:
            content = self._backend.store.get(job.key).data
        except NotFound:  # its batch was deleted
            self._drop(held)
            return False
        answer = self.answer(Photo(job.name, content, job.batch_id, job.image_id, job.options.asked()))
        if answer is None:
            return False
        self._finish(held, answer)
        return True

    def _finish(self, held: _Held, answer: Answer) -> None:
        job, now = held.job, self._clock()
        tagged = Tagged() if isinstance(answer, Failed) else answer if isinstance(answer, Tagged) else Tagged(answer)
        result = Result(
            batch_id=job.batch_id,
            image_id=job.image_id,
            name=job.name,
            tagger=f"{job.tagger}@1",
            tags=tuple(_tag(name, sure, tagged.boxes.get(name, ())) for name, sure in tagged.tags.items()),
            caption=tagged.caption,
            error=answer.error if isinstance(answer, Failed) else None,
            worker=WORKER,
            finished_at=now,
            timings_ms=Timings(queue=max(0.0, now - job.submitted_at) * 1000, fetch=2.0, decode=4.2, infer=21.0),
            attempt=job.attempt,
            origin=job.origin,
        )
        key = layout.result_key(job.batch_id, job.image_id)
        self._backend.store.put(key, encode(result).encode(), content_type="application/json")
        self._backend.results.send([encode_output(result, key)])
        self._drop(held)

    def _drop(self, held: _Held) -> None:
        held.queue.delete([held.delivery])
        self._held.pop(held.job.image_id, None)


def _tag(name: str, confidence: float | None, boxes: Sequence[Sequence[float]]) -> Tag:
    placed = [Box(box=(box[0], box[1], box[2], box[3])) for box in boxes]
    return Tag(name=name, confidence=confidence, instances=tuple(placed))
