"""A process that died leaves a record of its images; the record of a living process is left alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from app_tier.pipeline.crash_record import CrashRecord, CrashReport, collect_crash_report

_DIES = """
import os, sys
from pathlib import Path
from app_tier.pipeline.crash_record import CrashRecord

record = CrashRecord(Path(sys.argv[1]), "w1")
with record.decoding("img_done"):
    pass
with record.tagging(["img_c", "img_d"]):
    if sys.argv[2:]:
        os.kill(os.getpid(), 9)
    with record.decoding("img_a"), record.decoding("img_b"):
        os.kill(os.getpid(), 9)
"""


def test_images_of_a_killed_process_are_found_once(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", _DIES, str(tmp_path)], check=False)
    found = collect_crash_report(tmp_path)
    assert found == CrashReport(frozenset({"img_a", "img_b"}), frozenset()), "the decoders are suspected first"
    assert collect_crash_report(tmp_path) == CrashReport()
    subprocess.run([sys.executable, "-c", _DIES, str(tmp_path), "tagging"], check=False)
    assert collect_crash_report(tmp_path) == CrashReport(frozenset(), frozenset({"img_c", "img_d"}))


def test_the_file_of_a_living_process_is_left_alone(tmp_path: Path) -> None:
    record = CrashRecord(tmp_path, "w1")
    with record.decoding("img_a"):
        assert collect_crash_report(tmp_path) == CrashReport()
        assert len(list(tmp_path.iterdir())) == 1
    record.close()
    assert list(tmp_path.iterdir()) == []


def test_without_a_writable_folder_work_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (None, tmp_path / "file"):
        record = CrashRecord(folder, "w1")
        with record.decoding("img_a"):
            pass
        record.close()
        assert collect_crash_report(folder) == CrashReport()
