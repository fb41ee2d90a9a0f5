"""What a process that died had in hand: its successor reads it, and nobody takes a living process's file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from app_tier.pipeline.crash_record import Ledger, Remains, take_remains

_DIES = """
import os, sys
from pathlib import Path
from app_tier.pipeline.crash_record import Ledger

ledger = Ledger(Path(sys.argv[1]), "w1")
with ledger.decoding("img_done"):
    pass
with ledger.tagging(["img_c", "img_d"]):
    if sys.argv[2:]:
        os.kill(os.getpid(), 9)
    with ledger.decoding("img_a"), ledger.decoding("img_b"):
        os.kill(os.getpid(), 9)
"""


def test_what_a_killed_process_had_in_hand_is_found_once(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", _DIES, str(tmp_path)], check=False)
    found = take_remains(tmp_path)
    assert found == Remains(frozenset({"img_a", "img_b"}), frozenset()), "the decoders are suspected first"
    assert take_remains(tmp_path) == Remains()
    subprocess.run([sys.executable, "-c", _DIES, str(tmp_path), "tagging"], check=False)
    assert take_remains(tmp_path) == Remains(frozenset(), frozenset({"img_c", "img_d"}))


def test_the_file_of_a_living_process_is_left_alone(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "w1")
    with ledger.decoding("img_a"):
        assert take_remains(tmp_path) == Remains()
        assert len(list(tmp_path.iterdir())) == 1
    ledger.close()
    assert list(tmp_path.iterdir()) == []


def test_without_a_folder_that_can_be_written_work_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (None, tmp_path / "file"):
        ledger = Ledger(folder, "w1")
        with ledger.decoding("img_a"):
            pass
        ledger.close()
        assert take_remains(folder) == Remains()
