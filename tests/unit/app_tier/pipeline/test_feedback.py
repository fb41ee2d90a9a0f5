"""Feedback in a worker: the image is decoded, the tagger learns, and only then the message is acknowledged."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from app_tier.pipeline.child_decoder import ChildDecoder
from app_tier.pipeline.feedback import Learning
from app_tier.pipeline.flow import Flow
from app_tier.pipeline.in_flight import InFlight
from app_tier.pipeline.pipeline import Pipeline
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
    """Records what it learns. Each of `errors` is raised once instead."""

    def __init__(self) -> None:
        super().__init__()
        self.learned: list[FeedbackItem] = []
        self.errors: list[Exception] = []
        self.known: set[str] = set()

    def has_features_of(self, image_id: str) -> bool:
        return image_id in self.known

    def learn(self, lessons: Sequence[FeedbackItem]) -> None:
        if self.errors:
            raise self.errors.pop()
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
    assert pipeline.wait_until_drained(30)
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


def test_an_image_is_not_fetched_if_its_features_are_kept_or_feedback_is_undone(
    worker: Pipeline, pupil: Pupil, backend: Backend, tell: Any
) -> None:
    pupil.known.add("img_a")
    told = [tell("img_a", None, "rose"), tell("img_b", None)]
    wait_until(lambda: not outstanding(backend))
    assert [(lesson.feedback, lesson.frame) for lesson in pupil.learned] == [(one, None) for one in told]


@pytest.mark.parametrize("data", [None, b"no image"])
def test_feedback_on_unreadable_images_is_acknowledged_and_ignored(
    worker: Pipeline, pupil: Pupil, backend: Backend, tell: Any, data: bytes | None
) -> None:
    tell("img_a", data, "rose")
    wait_until(lambda: not outstanding(backend))
    assert pupil.learned == []
    assert backend.jobs("resnet50").depth().dead == 0


class Calls:
    """A queue that records deletes and releases."""

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
def test_feedback_that_could_not_be_learned_is_released_and_comes_again(
    backend: Backend, settings: Settings, pupil: Pupil, tell: Any, picture: Any, error: Exception
) -> None:
    queue = Calls(backend.jobs("resnet50"))
    object.__setattr__(backend, "jobs", lambda _: queue)
    pupil.errors.append(error)
    pipeline = make_pipeline(backend, settings, pupil)
    told = tell("img_a", picture(), "rose")
    pipeline.start()
    wait_until(lambda: queue.deleted)
    pipeline.draining.set()
    assert pipeline.wait_until_drained(30)
    pipeline.close()
    assert [lesson.feedback for lesson in pupil.learned] == [told]
    assert [delivery.receive_count for delivery in queue.deleted] == [2]
    assert queue.delayed[0] > 0


def test_a_draining_worker_releases_feedback(
    backend: Backend, settings: Settings, pupil: Pupil, tell: Any, picture: Any
) -> None:
    for number in range(3):
        tell(f"img_{number}", picture(), "rose")
    pipeline = make_pipeline(backend, settings, pupil)
    pipeline.start()
    pipeline.draining.set()
    assert pipeline.wait_until_drained(30)
    pipeline.close()
    assert outstanding(backend) + len(pupil.learned) == 3


class Stage:
    """The stage alone. It learns the messages in the queue as one group."""

    def __init__(self, backend: Backend) -> None:
        self.queue = Calls(backend.jobs("resnet50"))
        in_flight = InFlight(self.queue, limit=100, visibility_timeout_s=60, clock=time.monotonic)  # type: ignore[arg-type]
        self.flow = Flow(in_flight)
        self._originals = backend.originals

    def take_in(self, tagger: Tagger) -> None:
        learning = Learning(self.flow, self._originals, ChildDecoder(100, 30), lambda: tagger)
        deliveries = self.queue.receive(10, 5.0)
        self.flow.in_flight.add(deliveries)
        for delivery in deliveries:
            learning.put(delivery, decode_feedback(delivery.body))
        learning.close()
        learning.run()
        assert not len(self.flow.in_flight)

    def waiting(self) -> list[str]:
        """Return the images of the released messages."""
        return sorted(decode_feedback(delivery.body).image_id for delivery in self.queue.receive(10, 1.0))


@pytest.fixture
def stage(backend: Backend) -> Stage:
    return Stage(backend)


def test_feedback_waits_for_a_worker_whose_tagger_learns(stage: Stage, pupil: Pupil, tell: Any) -> None:
    """The web tier sends it only once, so a worker with another tagger must not acknowledge it."""
    pupil.known.add("img_a")
    told = tell("img_a", None, "rose")
    stage.take_in(ColourTagger())
    assert stage.queue.deleted == []
    assert stage.queue.delayed[0] > 0
    assert "colour@1 does not" in stage.flow.health.notice
    stage.take_in(pupil)
    assert [lesson.feedback for lesson in pupil.learned] == [told]
    assert len(stage.queue.deleted) == 1
    assert stage.flow.health.notice == ""


class Damaged(Pupil):
    """The features of one image are damaged, so no group with this image can be learned."""

    def learn(self, lessons: Sequence[FeedbackItem]) -> None:
        if "img_3" in [lesson.feedback.image_id for lesson in lessons]:
            raise WeightsInvalid("examples/img_3.npy in the store is damaged")
        super().learn(lessons)


def test_damaged_features_of_one_image_do_not_delay_others(stage: Stage, tell: Any) -> None:
    pupil = Damaged()
    for number in range(6):
        pupil.known.add(f"img_{number}")
        tell(f"img_{number}", None, "rose")
    stage.take_in(pupil)
    assert sorted(lesson.feedback.image_id for lesson in pupil.learned) == ["img_0", "img_1", "img_2", "img_4", "img_5"]
    assert stage.waiting() == ["img_3"]
    assert len(stage.queue.deleted) == 5
    assert stage.queue.delayed[0] > 0
    assert "img_3.npy" in stage.flow.health.notice


def test_a_worker_that_drains_between_two_images_releases_the_rest(stage: Stage, tell: Any) -> None:
    """Each may take as long as the slowest decode, and a machine that is taken away cannot wait."""

    class Leaving(Pupil):
        def has_features_of(self, image_id: str) -> bool:
            stage.flow.draining.set()
            return True

    pupil = Leaving()
    for number in range(3):
        tell(f"img_{number}", None, "rose")
    stage.take_in(pupil)
    assert [lesson.feedback.image_id for lesson in pupil.learned] == ["img_0"]
    assert stage.waiting() == ["img_1", "img_2"]
    assert stage.queue.delayed == [0.0]
