"""Feedback on its way through a worker: the image is seen, the tagger learns, and only then the message is gone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from app_tier.pipeline.feedback import Learning
from app_tier.pipeline.in_flight import Held
from app_tier.pipeline.isolation import IsolatedDecoder
from app_tier.pipeline.pipeline import Pipeline
from app_tier.pipeline.result_writer import Trouble
from app_tier.taggers import FeedbackItem, Tagger
from bench.deployment import wait_until
from config.settings import Settings
from core.domain.messages import Feedback, Opinion, decode_feedback, encode
from core.errors import Unavailable, WeightsInvalid
from core.storage import layout
from core.storage.ports import Delivery
from core.wiring import Backend
from tests.unit.app_tier.conftest import ColourTagger, make_pipeline


class Pupil(ColourTagger):
    """Writes down what it is taught; `trouble` is raised instead, once for each."""

    def __init__(self) -> None:
        super().__init__()
        self.learned: list[FeedbackItem] = []
        self.trouble: list[Exception] = []
        self.known: set[str] = set()

    def has_features_of(self, image_id: str) -> bool:
        return image_id in self.known

    def learn(self, lessons: Sequence[FeedbackItem]) -> None:
        if self.trouble:
            raise self.trouble.pop()
        self.learned += lessons


@pytest.fixture
def pupil() -> Pupil:
    return Pupil()


@pytest.fixture
def worker(backend: Backend, settings: Settings, pupil: Pupil) -> Iterator[Pipeline]:
    pipeline = make_pipeline(backend, settings, pupil)
    pipeline.start()
    yield pipeline
    pipeline.draining.set()
    assert pipeline.drained(30)
    pipeline.close()


@pytest.fixture
def tell(backend: Backend) -> Callable[..., Feedback]:
    def tell(image_id: str, data: bytes | None, *names: str) -> Feedback:
        key = layout.image_key("bat_1", image_id)
        if data is not None:
            backend.store.put(key, data)
        opinions = tuple(Opinion(name=name, wanted=True) for name in names)
        told = Feedback(batch_id="bat_1", image_id=image_id, key=key, name="a.png", revision=1, opinions=opinions)
        backend.jobs("resnet50").send([encode(told)])
        return told

    return tell


def outstanding(backend: Backend) -> int:
    return backend.jobs("resnet50").depth().outstanding


def test_feedback_is_learned_with_its_image_beside_photos_that_are_tagged(
    worker: Pipeline, pupil: Pupil, backend: Backend, tell: Any, submit: Any, collect: Any, picture: Any
) -> None:
    job = submit(picture("blue"))
    told = tell("img_a", picture("red"), "rose")
    assert collect(1)[job.image_id].tags[0].name == "blue"
    wait_until(lambda: not outstanding(backend))
    (lesson,) = pupil.learned
    assert lesson.feedback == told
    assert lesson.frame is not None
    assert lesson.frame[0, 0].tolist() == [255, 0, 0]
    wait_until(lambda: worker.images_done == 2)


def test_an_image_is_not_fetched_for_what_is_remembered_or_taken_back(
    worker: Pipeline, pupil: Pupil, backend: Backend, tell: Any
) -> None:
    pupil.known.add("img_a")
    told = [tell("img_a", None, "rose"), tell("img_b", None)]
    wait_until(lambda: not outstanding(backend))
    assert [(lesson.feedback, lesson.frame) for lesson in pupil.learned] == [(one, None) for one in told]


@pytest.mark.parametrize("data", [None, b"no image"])
def test_what_cannot_be_seen_teaches_nothing_and_is_acknowledged(
    worker: Pipeline, pupil: Pupil, backend: Backend, tell: Any, data: bytes | None
) -> None:
    tell("img_a", data, "rose")
    wait_until(lambda: not outstanding(backend))
    assert pupil.learned == []
    assert backend.jobs("resnet50").depth().dead == 0


class Calls:
    """A queue that remembers what was deleted and given back."""

    def __init__(self, queue: Any) -> None:
        self._queue = queue
        self.deleted: list[Delivery] = []
        self.delayed: list[float] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)

    def delete(self, deliveries: Sequence[Delivery]) -> None:
        self.deleted += deliveries
        self._queue.delete(deliveries)

    def set_visibility(self, deliveries: Sequence[Delivery], seconds: float) -> None:
        self.delayed.append(seconds)
        self._queue.set_visibility(deliveries, 0)


@pytest.mark.parametrize("error", [Unavailable("the store is away"), WeightsInvalid("what was learned is damaged")])
def test_feedback_that_could_not_be_learned_is_given_back_and_comes_again(
    backend: Backend, settings: Settings, pupil: Pupil, tell: Any, picture: Any, error: Exception
) -> None:
    queue = Calls(backend.jobs("resnet50"))
    object.__setattr__(backend, "jobs", lambda _: queue)
    pupil.trouble.append(error)
    pipeline = make_pipeline(backend, settings, pupil)
    told = tell("img_a", picture(), "rose")
    pipeline.start()
    wait_until(lambda: queue.deleted)
    pipeline.draining.set()
    assert pipeline.drained(30)
    pipeline.close()
    assert [lesson.feedback for lesson in pupil.learned] == [told]
    assert [delivery.receive_count for delivery in queue.deleted] == [2]
    assert queue.delayed[0] > 0


def test_a_worker_that_drains_gives_feedback_back(
    backend: Backend, settings: Settings, pupil: Pupil, tell: Any, picture: Any
) -> None:
    for number in range(3):
        tell(f"img_{number}", picture(), "rose")
    pipeline = make_pipeline(backend, settings, pupil)
    pipeline.start()
    pipeline.draining.set()
    assert pipeline.drained(30)
    pipeline.close()
    assert outstanding(backend) + len(pupil.learned) == 3


class Stage:
    """The stage alone: it takes in what waits in the queue, as one group."""

    def __init__(self, backend: Backend) -> None:
        self.queue = Calls(backend.jobs("resnet50"))
        self.draining = threading.Event()
        self.trouble = Trouble(self.draining)
        self._originals = backend.originals

    def take_in(self, tagger: Tagger) -> None:
        held = Held(self.queue, limit=100, visibility_timeout_s=60, clock=time.monotonic)  # type: ignore[arg-type]
        learning = Learning(
            tagger=lambda: tagger,
            originals=self._originals,
            held=held,
            trouble=self.trouble,
            isolated=IsolatedDecoder(100, 30),
            draining=self.draining,
            learned=lambda _: None,
        )
        deliveries = self.queue.receive(10, 5.0)
        held.add(deliveries)
        for delivery in deliveries:
            learning.put(delivery, decode_feedback(delivery.body))
        learning.close()
        learning.run()
        assert not len(held)

    def waiting(self) -> list[str]:
        """The images of what was given back."""
        return sorted(decode_feedback(delivery.body).image_id for delivery in self.queue.receive(10, 1.0))


@pytest.fixture
def stage(backend: Backend) -> Stage:
    return Stage(backend)


def test_feedback_waits_for_a_worker_whose_tagger_learns(stage: Stage, pupil: Pupil, tell: Any) -> None:
    """The web tier has sent it and does so no more: a worker that has another tagger may not make it vanish."""
    pupil.known.add("img_a")
    told = tell("img_a", None, "rose")
    stage.take_in(ColourTagger())
    assert stage.queue.deleted == []
    assert stage.queue.delayed[0] > 0
    assert "colour@1 does not" in stage.trouble.notice
    stage.take_in(pupil)
    assert [lesson.feedback for lesson in pupil.learned] == [told]
    assert len(stage.queue.deleted) == 1
    assert stage.trouble.notice == ""


class Damaged(Pupil):
    """What it remembers of one image is damaged: no group with this image can be learned."""

    def learn(self, lessons: Sequence[FeedbackItem]) -> None:
        if "img_3" in [lesson.feedback.image_id for lesson in lessons]:
            raise WeightsInvalid("examples/img_3.npy in the store is damaged")
        super().learn(lessons)


def test_what_is_damaged_of_one_image_keeps_no_other_waiting(stage: Stage, tell: Any) -> None:
    pupil = Damaged()
    for number in range(6):
        pupil.known.add(f"img_{number}")
        tell(f"img_{number}", None, "rose")
    stage.take_in(pupil)
    assert sorted(lesson.feedback.image_id for lesson in pupil.learned) == ["img_0", "img_1", "img_2", "img_4", "img_5"]
    assert stage.waiting() == ["img_3"]
    assert len(stage.queue.deleted) == 5
    assert stage.queue.delayed[0] > 0
    assert "img_3.npy" in stage.trouble.notice


def test_a_worker_that_drains_between_two_lessons_gives_the_rest_back(stage: Stage, tell: Any) -> None:
    """Each may take as long as the slowest decode, and a machine that is taken away waits for none."""

    class Leaving(Pupil):
        def has_features_of(self, image_id: str) -> bool:
            stage.draining.set()
            return True

    pupil = Leaving()
    for number in range(3):
        tell(f"img_{number}", None, "rose")
    stage.take_in(pupil)
    assert [lesson.feedback.image_id for lesson in pupil.learned] == ["img_0"]
    assert stage.waiting() == ["img_1", "img_2"]
    assert stage.queue.delayed == [0.0]
