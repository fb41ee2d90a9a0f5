"""The pipeline over a real local backend: nothing lost or doubled, back-pressure, drain, isolation."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from PIL import Image

from app_tier.pipeline.pipeline import Pipeline, PipelineOptions, PipelinePorts
from bench.deployment import wait_until
from config.settings import Settings
from core.domain.messages import Job, Result, decode_result, encode
from core.errors import Unavailable
from core.storage import layout
from core.storage.originals import Originals
from core.wiring import Backend
from tests.unit.app_tier.pipeline.children import decoding_children

Submit = Callable[..., Job]
Collect = Callable[[int], dict[str, Result]]


def test_every_image_gets_its_own_tags(
    pipeline: Pipeline, submit: Submit, collect: Collect, picture: Any, backend: Backend
) -> None:
    colours = ["red", "lime", "blue"] * 30
    jobs = [submit(picture(colour), f"holiday/{colour}-{n}.png") for n, colour in enumerate(colours)]
    pipeline.start()
    results = collect(len(jobs))
    for job, colour in zip(jobs, colours, strict=True):
        result = results[job.image_id]
        assert result.tags[0].name == {"lime": "green"}.get(colour, colour)
        assert result.name == job.name
        stored = backend.store.get(layout.result_key(job.batch_id, job.image_id)).data
        assert decode_result(stored) == result
    assert pipeline.in_flight.wait_until_empty(120)
    assert backend.jobs("resnet50").depth().outstanding == 0
    assert pipeline.images_done == len(jobs)


def test_results_tell_the_size_of_the_upright_picture(
    pipeline: Pipeline, submit: Submit, collect: Collect, picture: Any, settings: Settings
) -> None:
    """Also for one that is decoded in a child."""
    exif = Image.Exif()
    exif[0x0112] = 6
    suspect = submit(picture(), receives=settings.worker.isolate_receive)
    plain = submit(picture(size=(320, 240), format="JPEG"))
    turned = submit(picture(size=(320, 240), format="JPEG", exif=exif))
    broken = submit(b"just text")
    pipeline.start()
    results = collect(4)
    sizes = [(results[job.image_id].width, results[job.image_id].height) for job in (plain, turned, suspect, broken)]
    assert sizes == [(320, 240), (240, 320), (32, 24), (None, None)]


def test_batches_fill(pipeline: Pipeline, submit: Submit, collect: Collect, picture: Any, tagger: Any) -> None:
    for _ in range(64):
        submit(picture())
    pipeline.start()
    collect(64)
    assert max(tagger.batches) == 8
    assert sum(tagger.batches) == 64


def test_a_tagger_may_limit_its_batches(
    pipeline: Pipeline, submit: Submit, collect: Collect, picture: Any, tagger: Any
) -> None:
    tagger.most_at_once = 1
    for _ in range(16):
        submit(picture())
    pipeline.start()
    collect(16)
    assert tagger.batches == [1] * 16


def test_a_decoder_that_waits_for_a_slow_tagger_does_not_hang(
    pipeline: Pipeline, submit: Submit, collect: Collect, picture: Any, tagger: Any, settings: Settings
) -> None:
    leave, infer = threading.Event(), tagger.infer

    def slow(frames: Any, options: Sequence[Any]) -> Any:
        leave.wait(120)
        return infer(frames, options)

    decoded, preprocess = [], tagger.preprocess
    tagger.preprocess = lambda image: (decoded.append(image), preprocess(image))[1]
    tagger.infer, tagger.most_at_once = slow, 1
    for _ in range(16):
        submit(picture())
    pipeline.start()
    ahead = 1 + 3  # with the tagger, and waiting for it
    wait_until(lambda: len(decoded) == ahead + pipeline.sizes.decode_threads)  # the decoders have no room for theirs
    wait_until(lambda: pipeline.hangs.decoding_for() == 0.0)
    leave.set()
    assert len(collect(16)) == 16


def test_a_bad_image_gives_a_result_and_harms_no_other(
    pipeline: Pipeline, submit: Submit, collect: Collect, picture: Any, backend: Backend
) -> None:
    good = [submit(picture(), f"{n}.png") for n in range(5)]
    text = submit(b"just text", "notes.jpg")
    gone = submit(None, "gone.jpg")
    pipeline.start()
    results = collect(7)
    assert results[text.image_id].error == (
        "notes.jpg: not an image that can be read here (JPEG, PNG, WebP, GIF, BMP, TIFF, HEIC and AVIF can)"
    )
    assert results[gone.image_id].error == "gone.jpg: its bytes are no longer in the store"
    assert all(results[job.image_id].ok for job in good)
    assert pipeline.in_flight.wait_until_empty(120)
    assert backend.jobs("resnet50").depth().outstanding == 0


def test_a_message_that_is_not_a_job_becomes_a_dead_letter(
    pipeline: Pipeline, submit: Submit, collect: Collect, picture: Any, backend: Backend
) -> None:
    queue = backend.jobs("resnet50")
    queue.send(['{"v": 99}'])
    pipeline.start()
    submit(picture())
    collect(1)
    dead = []
    while not dead:  # bounded by the test's timeout
        dead = queue.dead_letters().receive(1, 0.2)
    assert dead[0].body == '{"v": 99}'


def test_from_its_second_delivery_an_image_is_decoded_in_a_child(
    pipeline: Pipeline, submit: Submit, collect: Collect, picture: Any
) -> None:
    first = submit(picture("red"))
    pipeline.start()
    assert collect(1)[first.image_id].tags[0].name == "red"
    assert len(decoding_children()) == 0
    came_back = submit(picture("blue"), receives=1)
    assert collect(1)[came_back.image_id].tags[0].name == "blue"
    assert len(decoding_children()) == 1


def test_a_stored_result_is_sent_and_not_computed_again(
    pipeline: Pipeline, submit: Submit, collect: Collect, picture: Any, backend: Backend, tagger: Any
) -> None:
    job = submit(picture(), receives=1)
    earlier = Result(batch_id=job.batch_id, image_id=job.image_id, name=job.name, tagger="colour@1", worker="w0")
    backend.store.put(layout.result_key(job.batch_id, job.image_id), encode(earlier).encode())
    pipeline.start()
    assert collect(1)[job.image_id].worker == "w0"
    assert tagger.batches == []


def test_a_result_of_an_earlier_attempt_is_computed_again(
    pipeline: Pipeline, submit: Submit, collect: Collect, picture: Any, backend: Backend
) -> None:
    job = submit(picture("blue"), receives=1, attempt=1)
    earlier = Result(batch_id=job.batch_id, image_id=job.image_id, name=job.name, tagger="colour@1", error="broken")
    backend.store.put(layout.result_key(job.batch_id, job.image_id), encode(earlier).encode())
    pipeline.start()
    result = collect(1)[job.image_id]
    assert (result.error, result.attempt, result.tags[0].name) == (None, 1, "blue")


def test_the_stored_failure_of_a_dead_letter_does_not_end_a_redriven_job(
    pipeline: Pipeline, submit: Submit, collect: Collect, picture: Any, backend: Backend
) -> None:
    """The collector stores it for senders that look in the store; the redriven job starts anew."""
    job = submit(picture("blue"), receives=1)
    given_up = Result(batch_id=job.batch_id, image_id=job.image_id, name=job.name, tagger="colour", error="gave up")
    backend.store.put(layout.result_key(job.batch_id, job.image_id), encode(given_up).encode())
    pipeline.start()
    assert collect(1)[job.image_id].error is None


def test_jobs_of_a_cancelled_batch_are_dropped(
    pipeline: Pipeline, submit: Submit, collect: Collect, picture: Any, backend: Backend, tagger: Any
) -> None:
    for _ in range(3):
        submit(picture(), batch_id="bat_cancelled")
    job = submit(picture("blue"))
    backend.store.put(layout.cancelled_key("bat_cancelled"), b"")
    pipeline.start()
    assert set(collect(1)) == {job.image_id}
    assert pipeline.in_flight.wait_until_empty(120)
    depth = backend.jobs("resnet50").depth()
    assert (depth.visible, depth.in_flight) == (0, 0)
    assert sum(tagger.batches) == 1
    assert backend.results.depth().visible == 0


def test_draining_releases_images_that_have_not_started(
    settings: Settings, submit: Submit, picture: Any, backend: Backend, tagger: Any, pipeline: Pipeline
) -> None:
    entered, leave = threading.Event(), threading.Event()
    infer = tagger.infer

    def slow(frames: Any, options: Sequence[Any]) -> Any:
        entered.set()
        leave.wait(120)
        return infer(frames, options)

    tagger.infer = slow
    for _ in range(60):
        submit(picture())
    pipeline.start()
    assert entered.wait(120)
    pipeline.draining.set()
    leave.set()
    assert pipeline.wait_until_drained(120)
    depth = backend.jobs("resnet50").depth()
    assert depth.in_flight == 0
    assert depth.visible + pipeline.images_done == 60
    assert 0 < pipeline.images_done < 60


class Flaky:
    """A port whose next calls of one method raise Unavailable."""

    def __init__(self, port: Any, method: str, times: int) -> None:
        self._port, self._method, self.left = port, method, times

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._port, name)
        if name != self._method:
            return attribute

        def call(*args: Any, **kwargs: Any) -> Any:
            if self.left > 0:
                self.left -= 1
                raise Unavailable("the disk is full")
            return attribute(*args, **kwargs)

        return call


@pytest.mark.parametrize(
    ("port", "method"),
    [("store", "put_all"), ("store", "get"), ("results", "send"), ("jobs", "delete"), ("jobs", "receive")],
)
def test_the_pipeline_waits_out_an_outage(
    settings: Settings,
    backend: Backend,
    submit: Submit,
    collect: Collect,
    picture: Any,
    tagger: Any,
    port: str,
    method: str,
) -> None:
    jobs = [submit(picture()) for _ in range(3)]
    parts: dict[str, Any] = {"store": backend.store, "results": backend.results, "jobs": backend.jobs("resnet50")}
    flaky = parts[port] = Flaky(parts[port], method, times=2)
    originals = Originals(parts["store"], lambda: backend.source, 1 << 20)
    ports = PipelinePorts(originals=originals, **parts)
    pipeline = Pipeline(tagger, ports, PipelineOptions(settings.worker, "w", 30), lambda: 1.0)
    pipeline.start()
    assert set(collect(3)) == {job.image_id for job in jobs}
    assert pipeline.in_flight.wait_until_empty(120)
    assert flaky.left == 0
    assert pipeline.notice == ""
    pipeline.draining.set()
    assert pipeline.wait_until_drained(120)
    pipeline.close()


def test_a_broken_tagger_stops_the_worker_and_keeps_the_messages(
    pipeline: Pipeline, submit: Submit, picture: Any, backend: Backend, tagger: Any
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("out of order")

    tagger.infer = broken
    submit(picture())
    pipeline.start()
    assert pipeline.draining.wait(120)
    assert isinstance(pipeline.failure, RuntimeError)
    pipeline.release_all()
    wait_until(lambda: backend.jobs("resnet50").depth().visible == 1)  # a last receive may hold it for a moment


LARGE_BYTES = 64 << 20
LARGE_HELD = LARGE_BYTES * 9 // 8


class Large:
    """A store whose images say that they have 64 MB."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def get(self, key: str, admit: Callable[[int], None] | None = None) -> Any:
        blob = self._store.get(key)
        if admit is not None:
            admit(LARGE_BYTES)
        return blob


@pytest.fixture
def large(settings: Settings, backend: Backend, tagger: Any) -> Iterator[tuple[Pipeline, threading.Event]]:
    """A pipeline with eight fetches at once of large images. It decodes none before the event."""
    decode, preprocess = threading.Event(), tagger.preprocess

    def slow(image: Any) -> Any:
        assert decode.wait(120)
        return preprocess(image)

    tagger.preprocess = slow
    store: Any = Large(backend.store)
    originals = Originals(store, lambda: backend.source, 1 << 30)
    ports = PipelinePorts(backend.jobs("resnet50"), backend.results, store, originals)
    worker = settings.worker.model_copy(update={"fetch_threads": 8, "fetched_mb": 230})
    pipeline = Pipeline(tagger, ports, PipelineOptions(worker, "w1", settings.queue.visibility_timeout_s))
    yield pipeline, decode
    decode.set()
    pipeline.draining.set()
    assert pipeline.wait_until_drained(120)
    pipeline.close()


def test_large_images_are_held_up_to_the_bound(
    large: tuple[Pipeline, threading.Event], submit: Submit, collect: Collect, picture: Any
) -> None:
    pipeline, decode = large
    for _ in range(24):
        submit(picture())
    pipeline.start()
    wait_until(lambda: pipeline.most_fetched_bytes == 3 * LARGE_HELD)
    decode.set()
    assert all(result.ok for result in collect(24).values())
    assert pipeline.most_fetched_bytes <= 230 << 20


def test_a_drain_does_not_wait_for_room(
    large: tuple[Pipeline, threading.Event], submit: Submit, picture: Any, backend: Backend
) -> None:
    """While nothing is decoded, all images that are not fetched yet go back to the queue."""
    pipeline, decode = large
    for _ in range(24):
        submit(picture())
    pipeline.start()
    wait_until(lambda: pipeline.most_fetched_bytes == 3 * LARGE_HELD)
    pipeline.draining.set()
    wait_until(lambda: backend.jobs("resnet50").depth().visible == 24 - 3)
    decode.set()
    assert pipeline.wait_until_drained(120)
    assert backend.jobs("resnet50").depth().visible + pipeline.images_done == 24
    assert pipeline._flow.fetched.held == 0


def test_images_that_fail_give_their_room_back(
    large: tuple[Pipeline, threading.Event], submit: Submit, collect: Collect
) -> None:
    pipeline, decode = large
    decode.set()
    for _ in range(12):
        submit(b"just text")
    pipeline.start()
    assert not any(result.ok for result in collect(12).values())
    assert pipeline.in_flight.wait_until_empty(120)
    assert pipeline._flow.fetched.held == 0
