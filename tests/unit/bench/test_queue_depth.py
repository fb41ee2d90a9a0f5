from __future__ import annotations

from click.testing import CliRunner

from bench import queue_depth
from bench.__main__ import main


def test_a_queue_is_filled_and_measured(tmp_path) -> None:
    found = queue_depth.measure(tmp_path, 1_234)
    assert found.waiting == 1_234
    assert min(found.sends, found.receives, found.depth_s) > 0


def test_the_command_is_listed() -> None:
    assert "the local queue by messages that wait" in CliRunner().invoke(main, ["--help"]).output
