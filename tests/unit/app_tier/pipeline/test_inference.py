"""The infer stage with a tagger on a device: two batches under way, and nothing lost by what the device refuses."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app_tier.engines import AnyFrame, DeviceFrame, Outputs
from app_tier.pipeline.batching import InferenceBatcher
from app_tier.pipeline.call_watch import CallWatch
from app_tier.pipeline.crash_record import CrashRecord
from app_tier.pipeline.inference import Inference
from app_tier.pipeline.item import WorkItem
from app_tier.taggers import PendingTags, Prediction
from bench.deployment import wait_until
from core.domain.messages import Job, TagOptions
from core.errors import GpuUnusable
from core.imaging.plain_jpeg import PlainJpeg
from core.storage.ports import Delivery
from tests.unit.app_tier.conftest import ColourTagger


class DeviceColours(ColourTagger):
    """Its device finishes a batch when the test says so."""

    under_way = 2
    decodes_jpegs = True

    def __init__(self) -> None:
        super().__init__()
        self.submitted: list[int] = []
        self.gates: list[threading.Event] = []
        self.settled = threading.Event()
        self.settled.set()
        self.refuses: Callable[[bytes], bool] = lambda data: False
        self.error: Exception | None = None

    def decode(self, jpegs: Sequence[PlainJpeg]) -> list[DeviceFrame | None]:
        frame = DeviceFrame(np.full((8, 8, 3), (0, 0, 200), np.uint8))
        return [None if self.refuses(jpeg.data) else frame for jpeg in jpegs]

    def submit(self, frames: Sequence[AnyFrame], options: Sequence[TagOptions]) -> PendingTags:
        self.submitted.append(len(frames))
        gate = threading.Event()
        self.gates.append(gate)
        pixels = np.stack([frame.pixels if isinstance(frame, DeviceFrame) else frame for frame in frames])

        def outputs() -> Outputs:
            assert gate.wait(60)
            if self.error:
                raise self.error
            return pixels

        def predict(outputs: Outputs) -> list[Prediction]:
            assert self.settled.wait(60)
            return self.infer(outputs, options)

        return PendingTags(outputs, predict)


class Stage:
    """The stage in a thread of its own, over a batcher of two images."""

    def __init__(self, folder: Path | None = None) -> None:
        self.tagger = DeviceColours()
        self.batcher = InferenceBatcher(2, 0.0, lambda: 0)
        self.tagged: list[tuple[str, str]] = []
        self.refused: list[WorkItem] = []
        self.error: BaseException | None = None
        self.record = CrashRecord(folder, "w1")
        self.calls = CallWatch()
        self.inference = Inference(self.batcher, self.record, self._take, self.refused.append, self.calls)
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _take(self, tagged: Sequence[tuple[WorkItem, Prediction]]) -> None:
        self.tagged += [(item.job.image_id, prediction.tags[0].name) for item, prediction in tagged]

    def _run(self) -> None:
        try:
            self.inference.run()
        except BaseException as error:  # noqa: BLE001  # for the test
            self.error = error

    def put(self, *numbers: int, **fields: Any) -> None:
        for number in numbers:
            self.batcher.put(self.item(number, **fields))

    def item(self, number: int, colour: tuple[int, int, int] = (200, 0, 0), jpeg: bytes = b"") -> WorkItem:
        id = f"img_{number}"
        job = Job(batch_id="b", image_id=id, key="k", name="n", tagger="t", submitted_at=0.0)
        item = WorkItem(Delivery(id, id, 1, 0.0), job, data=jpeg, tagger=self.tagger)
        if jpeg:
            item.jpeg = PlainJpeg(jpeg, (64, 64), 1)
        else:
            item.frame = np.full((8, 8, 3), colour, np.uint8)
        return item

    def finish(self) -> None:
        self.batcher.close()
        self.thread.join(60)
        assert not self.thread.is_alive()


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def in_record(folder: Path) -> set[str]:
    (file,) = folder.glob("*.in-hand")
    return {entry.decode() for entry in file.read_bytes().replace(b"\0", b" ").split()}


def test_the_device_takes_another_batch_while_predictions_are_made(stage: Stage) -> None:
    stage.tagger.settled.clear()
    stage.put(0, 1, 2, 3, 4, 5)
    stage.thread.start()
    wait_until(lambda: stage.tagger.submitted == [2, 2])
    stage.tagger.gates[0].set()
    wait_until(lambda: stage.tagger.submitted == [2, 2, 2])
    assert not stage.tagged
    stage.tagger.settled.set()
    for gate in stage.tagger.gates:
        gate.set()
    stage.finish()
    assert len(stage.tagged) == 6


def test_two_batches_are_under_way_and_recorded_and_a_third_waits(stage: Stage, tmp_path: Path) -> None:
    stage.put(0, 1, 2, 3, 4, 5)
    stage.thread.start()
    wait_until(lambda: stage.tagger.submitted == [2, 2])
    assert in_record(tmp_path) == {"timg_0", "timg_1", "timg_2", "timg_3"}
    assert len(stage.batcher) == 2
    assert not stage.tagged
    stage.tagger.gates[0].set()
    wait_until(lambda: stage.tagger.submitted == [2, 2, 2])
    wait_until(lambda: in_record(tmp_path) == {"timg_2", "timg_3", "timg_4", "timg_5"})
    assert [id for id, _ in stage.tagged] == ["img_0", "img_1"]
    for gate in stage.tagger.gates:
        gate.set()
    stage.finish()
    assert [id for id, _ in stage.tagged] == [f"img_{n}" for n in range(6)]
    assert in_record(tmp_path) == set()


def test_a_batch_that_is_done_is_collected_while_the_next_waits_for_images(stage: Stage) -> None:
    stage.put(0)
    stage.thread.start()
    wait_until(lambda: len(stage.tagger.gates) == 1)
    stage.tagger.gates[0].set()
    wait_until(lambda: len(stage.tagged) == 1)  # although the batcher has nothing
    stage.finish()


def test_files_and_frames_share_a_batch_and_refused_files_go_back(stage: Stage) -> None:
    stage.tagger.refuses = lambda data: data == b"bad"
    items = [stage.item(0), stage.item(1, jpeg=b"good"), stage.item(2, jpeg=b"bad"), stage.item(3, jpeg=b"bad")]
    for item in items:
        stage.batcher.put(item)
    stage.thread.start()
    wait_until(lambda: len(stage.refused) == 2)
    stage.tagger.gates[0].set()
    stage.finish()
    assert stage.tagged == [("img_0", "red"), ("img_1", "blue")]
    assert stage.refused == items[2:]
    assert [item.data for item in items] == [b"", b"", b"bad", b"bad"], "a refused file keeps its bytes"
    assert stage.tagger.submitted == [2], "no empty batch is submitted"


def test_what_the_device_decodes_is_recorded_before_it_may_crash(stage: Stage, tmp_path: Path) -> None:
    recorded: list[set[str]] = []
    stage.tagger.refuses = lambda data: bool(recorded.append(in_record(tmp_path)))
    stage.put(0, jpeg=b"file")
    stage.thread.start()
    wait_until(lambda: len(stage.tagger.gates) == 1)
    stage.tagger.gates[0].set()
    stage.finish()
    assert recorded == [{"timg_0"}]


def test_an_error_of_a_batch_under_way_ends_the_stage(stage: Stage) -> None:
    stage.tagger.error = GpuUnusable("there is no memory for one image")
    stage.put(0, 1, 2, 3, 4, 5)
    stage.thread.start()
    wait_until(lambda: len(stage.tagger.gates) == 2)
    for gate in stage.tagger.gates:
        gate.set()
    stage.thread.join(60)
    assert isinstance(stage.error, GpuUnusable)
    assert not stage.tagged


def test_a_device_that_hangs_is_noticed(stage: Stage) -> None:
    assert stage.calls.longest_s() == 0.0
    stage.put(0)
    stage.thread.start()
    wait_until(lambda: len(stage.tagger.gates) == 1)
    wait_until(lambda: stage.calls.longest_s() > 0.0)
    stage.tagger.gates[0].set()
    stage.finish()
    assert stage.calls.longest_s() == 0.0
    assert stage.calls.slowest_s > 0.0


def test_on_a_processor_one_batch_is_tagged_at_a_time_without_another_thread(stage: Stage) -> None:
    stage.tagger.under_way = 1
    stage.put(0, 1, 2)
    stage.thread.start()
    stage.finish()
    assert [id for id, _ in stage.tagged] == ["img_0", "img_1", "img_2"]
    assert not stage.tagger.submitted
    assert not [thread for thread in threading.enumerate() if thread.name == "collect"]
