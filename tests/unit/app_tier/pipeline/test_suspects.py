"""Images that hang or crash every decoder cost other images no time, no room and no delivery."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app_tier.pipeline.flow import Flow
from app_tier.pipeline.in_flight import InFlight
from app_tier.pipeline.item import WorkItem
from app_tier.pipeline.pipeline import Pipeline, PipelineOptions, PipelinePorts
from app_tier.pipeline.suspects import SuspectLimits, Suspects
from bench.chaos.traps import CRASHES, HANGS, marked, trapped
from bench.deployment import wait_until
from config.settings import Settings
from core.domain.messages import Job, Result, decode_job
from core.errors import Unavailable
from core.storage.ports import Delivery
from core.wiring import Backend

Submit = Callable[..., Job]
Collect = Callable[[int], dict[str, Result]]


def harmful(picture: Any, mark: bytes) -> bytes:
    return marked(picture("red", (32, 24), "JPEG"), mark)


@pytest.fixture
def begin(
    settings: Settings, backend: Backend, tagger: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Pipeline]]:
    """Start pipelines whose decoding children fall into traps, and drain them at the end."""
    for name, value in trapped({}).items():
        monkeypatch.setenv(name, value)
    begun: list[Pipeline] = []

    def begin(
        *, max_receives: int = 10, crash_folder: Path | None = None, jobs: Any = None, **changes: Any
    ) -> Pipeline:
        options = PipelineOptions(
            settings.worker.model_copy(update={"decode_timeout_s": 5.0, **changes}),
            "w1",
            visibility_timeout_s=settings.queue.visibility_timeout_s,
            max_receives=max_receives,
            crash_folder=crash_folder,
        )
        jobs = jobs or backend.jobs("resnet50")
        ports = PipelinePorts(jobs, backend.results, backend.store, backend.originals)
        pipeline = Pipeline(tagger, ports, options, lambda: 1.0)
        begun.append(pipeline)
        pipeline.start()
        return pipeline

    yield begin
    for pipeline in begun:
        pipeline.draining.set()
        assert pipeline.wait_until_drained(120)
        pipeline.close()


@pytest.fixture
def come_back(backend: Backend) -> Callable[..., None]:
    """Deliver everything on the queue to workers that do not finish it."""

    def come_back(times: int = 1) -> None:
        queue = backend.jobs("resnet50")
        for _ in range(times):
            queue.set_visibility(queue.receive(1000, 0), 0)

    return come_back


def test_photos_behind_images_that_hang_are_tagged_first_and_cost_no_delivery(
    begin: Callable[..., Pipeline],
    submit: Submit,
    come_back: Callable[..., None],
    collect: Collect,
    picture: Any,
    backend: Backend,
) -> None:
    hanging = [submit(harmful(picture, HANGS), f"hang-{n}.png") for n in range(2)]
    photos = [submit(picture("blue"), f"photo-{n}.png") for n in range(20)]
    come_back()
    pipeline = begin(prefetch=64)
    first = collect(20)
    assert set(first) <= {job.image_id for job in photos} | {hanging[0].image_id}
    rest = collect(22 - len(first))
    results = {**first, **rest}
    assert all(results[job.image_id].ok for job in photos)
    for job in hanging:
        assert results[job.image_id].error == f"{job.name}: decoding it took longer than 5 s"
    assert pipeline.failure is None
    assert pipeline.in_flight.wait_until_empty(120)
    depth = backend.jobs("resnet50").depth()
    assert (depth.outstanding, depth.dead) == (0, 0)


def test_images_that_crash_their_decoder_end_as_errors_and_harm_no_other(
    begin: Callable[..., Pipeline], submit: Submit, come_back: Callable[..., None], collect: Collect, picture: Any
) -> None:
    crashing = [submit(harmful(picture, CRASHES), f"crash-{n}.png") for n in range(6)]
    photos = [submit(picture("blue"), f"photo-{n}.png") for n in range(6)]
    come_back()
    pipeline = begin()
    results = collect(12)
    assert all(results[job.image_id].ok for job in photos)
    assert all("crashed the decoder" in str(results[job.image_id].error) for job in crashing)
    assert pipeline.failure is None


def test_suspects_take_a_quarter_of_the_room(
    begin: Callable[..., Pipeline],
    submit: Submit,
    come_back: Callable[..., None],
    collect: Collect,
    picture: Any,
    backend: Backend,
) -> None:
    hanging = [submit(harmful(picture, HANGS)) for _ in range(3)]
    come_back()
    pipeline = begin(prefetch=4)
    wait_until(lambda: len(pipeline.in_flight) - pipeline.in_flight.unsuspected >= 1)
    photos = [submit(picture("blue")) for _ in range(30)]
    results: dict[str, Result] = {}
    while len(results) < 33:
        assert len(pipeline.in_flight) - pipeline.in_flight.unsuspected <= 3, "one, and two threads' on their way out"
        results |= collect(1)
    assert all(results[job.image_id].ok for job in photos)
    assert all("took longer" in str(results[job.image_id].error) for job in hanging)
    assert backend.jobs("resnet50").depth().dead == 0


def test_a_suspect_waits_without_its_bytes(backend: Backend) -> None:
    queue = backend.jobs("resnet50")
    flow = Flow(InFlight(queue, limit=4, visibility_timeout_s=60, clock=time.monotonic))
    job = Job(batch_id="b", image_id="img_1", key="k", name="n", tagger="t", submitted_at=0.0)
    item = WorkItem(Delivery("1", "1", 1, 0.0), job, data=b"a picture")
    flow.in_flight.add([item.delivery])

    class Handler:
        def __init__(self) -> None:
            self.handled: list[WorkItem] = []

        def handle(self, item: WorkItem) -> None:
            self.handled.append(item)

        def close(self) -> None:
            pass

    handler = Handler()
    suspects = Suspects(flow, queue, SuspectLimits(prefetch=4, max_receives=3, retry_s=1.0), handler)  # type: ignore[arg-type]
    suspects.put(item)
    assert item.data == b""
    assert (len(flow.in_flight), flow.in_flight.unsuspected) == (1, 0)
    suspects.close()
    suspects.run()
    assert handler.handled == [item]


def test_a_suspect_that_waits_for_its_turn_never_becomes_a_dead_letter(
    begin: Callable[..., Pipeline],
    submit: Submit,
    come_back: Callable[..., None],
    collect: Collect,
    picture: Any,
    backend: Backend,
    settings: Settings,
) -> None:
    """Each is deferred more often than a message may be delivered, and is tried in the end."""
    most = settings.queue.max_receives
    hanging = [submit(harmful(picture, HANGS)) for _ in range(3)]
    come_back(most - 1)
    begin(prefetch=4, max_receives=most)
    results = collect(3)
    assert {job.image_id for job in hanging} == set(results)
    assert all("took longer" in str(result.error) for result in results.values())
    depth = backend.jobs("resnet50").depth()
    assert depth.dead == 0


def test_a_draining_worker_returns_waiting_suspects_marked(
    begin: Callable[..., Pipeline], submit: Submit, come_back: Callable[..., None], picture: Any, backend: Backend
) -> None:
    for _ in range(3):
        submit(harmful(picture, HANGS))
    come_back()
    pipeline = begin(prefetch=64, decode_timeout_s=12.0)
    wait_until(lambda: (len(pipeline.in_flight), pipeline.in_flight.unsuspected) == (3, 0))  # one is being decoded
    pipeline.draining.set()
    assert pipeline.wait_until_drained(120)
    left = backend.jobs("resnet50").receive(10, 1.0)
    assert {decode_job(delivery.body).suspected for delivery in left} == {"decoding"}
    assert {delivery.receive_count for delivery in left} == {1}
    assert len(left) >= 1


_DIED_DECODING = """
import os, sys
from pathlib import Path
from app_tier.pipeline.crash_record import CrashRecord

record = CrashRecord(Path(sys.argv[1]), "w0")
with getattr(record, sys.argv[2])(sys.argv[3:] if sys.argv[2] == "tagging" else sys.argv[3]):
    os._exit(1)
"""


def test_after_a_predecessor_died_decoding_all_images_are_decoded_in_children(
    begin: Callable[..., Pipeline], submit: Submit, collect: Collect, picture: Any, tmp_path: Path
) -> None:
    """First deliveries are decoded in children too: in this process, the image would end it."""
    subprocess.run([sys.executable, "-c", _DIED_DECODING, str(tmp_path), "decoding", "img_x"], check=False)
    crash = submit(harmful(picture, CRASHES))
    photo = submit(picture("blue"))
    begin(crash_folder=tmp_path)
    results = collect(2)
    assert "crashed the decoder" in str(results[crash.image_id].error)
    assert results[photo.image_id].ok


def test_an_image_that_came_back_makes_a_worker_decode_all_in_children(
    begin: Callable[..., Pipeline],
    submit: Submit,
    come_back: Callable[..., None],
    collect: Collect,
    picture: Any,
    tagger: Any,
) -> None:
    entered, leave, infer = threading.Event(), threading.Event(), tagger.infer

    def slow(frames: Any, options: Any) -> Any:
        entered.set()
        assert leave.wait(120)
        return infer(frames, options)

    tagger.infer = slow
    came_back = submit(picture("blue"))
    come_back()
    begin()
    assert entered.wait(120)
    crash = submit(harmful(picture, CRASHES))
    (refused,) = collect(1).values()
    assert refused.image_id == crash.image_id
    assert "crashed the decoder" in str(refused.error)
    leave.set()
    assert collect(1)[came_back.image_id].ok


def test_images_in_the_tagger_of_a_dead_worker_are_tagged_alone(
    begin: Callable[..., Pipeline],
    submit: Submit,
    collect: Collect,
    picture: Any,
    tagger: Any,
    tmp_path: Path,
) -> None:
    """One after another, while only suspects are in flight."""
    suspected = [submit(picture("blue")) for _ in range(3)]
    ids = [job.image_id for job in suspected]
    subprocess.run([sys.executable, "-c", _DIED_DECODING, str(tmp_path), "tagging", *ids], check=False)
    photos = [submit(picture()) for _ in range(20)]
    begun: list[Pipeline] = []
    alone: list[tuple[int, int]] = []
    infer = tagger.infer

    def watched(frames: Any, options: Any) -> Any:
        if int(frames[0].reshape(-1, 3).mean(axis=0).argmax()) == 2:  # blue: a suspected one
            alone.append((len(frames), begun[0].in_flight.unsuspected))
        return infer(frames, options)

    tagger.infer = watched
    begun.append(begin(crash_folder=tmp_path))
    results = collect(23)
    assert all(results[job.image_id].ok for job in [*suspected, *photos])
    assert alone == [(1, 0)] * 3


class Refusing:
    """A queue that takes no messages."""

    def __init__(self, port: Any) -> None:
        self._port = port

    def __getattr__(self, name: str) -> Any:
        return getattr(self._port, name)

    def send(self, _bodies: Any) -> None:
        raise Unavailable("the queue is not there")


def test_a_suspect_that_cannot_be_sent_anew_is_released(
    begin: Callable[..., Pipeline], submit: Submit, come_back: Callable[..., None], picture: Any, backend: Backend
) -> None:
    for _ in range(3):
        submit(harmful(picture, HANGS))
    come_back()
    queue = backend.jobs("resnet50")
    pipeline = begin(jobs=Refusing(queue), prefetch=4)
    wait_until(lambda: pipeline.notice)
    pipeline.draining.set()
    assert pipeline.wait_until_drained(120)
    assert queue.depth().outstanding >= 2
    assert queue.depth().dead == 0
