"""TensorBoard's files: their content, and a full disk."""

from __future__ import annotations

from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

from tests.unit.training.full_disk import no_file_larger_than
from training.fit.observers import TensorBoardObserver
from training.fit.runs import BOARD, Epoch

EPOCH = Epoch(epoch=1, step=2, lr=0.1, train_loss=1, validation_loss=0.5, mAP=0.25, images_per_s=8)


def events(folder: Path) -> list[Event]:
    """Read all events. A TensorFlow record is a length, its checksum, data, and their checksum."""
    found = []
    for path in sorted((folder / BOARD).iterdir()):
        rest = path.read_bytes()
        while rest:
            length = int.from_bytes(rest[:8], "little")
            found.append(Event.FromString(rest[12 : 12 + length]))
            rest = rest[16 + length :]
    return found


def test_a_board_has_what_it_was_told_and_where_a_run_went_on(tmp_path: Path) -> None:
    with TensorBoardObserver(tmp_path, print) as board:
        board.on_start(1, 4, 2)
        board.on_step(2, 1.5, 0.25)
        board.on_epoch(EPOCH, best=True)
        board.on_message("an image was skipped")
    begun, restarted, *told, said = events(tmp_path)
    assert begun.file_version == "brain.Event:2"
    assert (restarted.step, restarted.session_log.status) == (2, SessionLog.START)  # drops what was there from 2 on
    values = [(event.step, event.summary.value[0].tag, event.summary.value[0].simple_value) for event in told]
    assert values == [
        (2, "train/loss", 1.5),
        (2, "train/learning_rate", 0.25),
        (2, "validation/mAP", 0.25),
        (2, "validation/loss", 0.5),
        (2, "train/images_per_s", 8.0),
    ]
    assert said.summary.value[0].tensor.string_val == [b"an image was skipped"]


@pytest.mark.parametrize("room", [0, 20_000])
def test_a_full_disk_ends_the_board_with_a_line_and_not_the_training(tmp_path: Path, room: int) -> None:
    said: list[str] = []
    with no_file_larger_than(room), TensorBoardObserver(tmp_path, said.append) as board:
        board.on_start(0, 1000, 1000)
        for step in range(1, 1001):
            board.on_step(step, 1.5, 0.25)
        board.on_epoch(EPOCH, best=True)
        board.on_message("an image was skipped")
    assert said == [f"no longer writing TensorBoard files to {tmp_path / BOARD}: File too large. Training continues"]
