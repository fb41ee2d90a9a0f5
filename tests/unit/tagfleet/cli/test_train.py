"""`tagfleet train` and `tagfleet evaluate`: from a folder of pictures to a report."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from config.settings import Settings
from tagfleet.cli import cli
from tests.unit.training.pictures import folder_of_classes
from training.evaluate import evaluation
from training.fit import runs

Run = Callable[..., Result]


@pytest.fixture
def run(settings: Settings, tmp_path: Path, engine_cache: Path) -> Run:
    torch.set_num_threads(1)

    def run(*arguments: str | Path) -> Result:
        environ = {"TAGFLEET_HOME": str(settings.home), "TAGFLEET_CACHE": str(engine_cache)}
        return CliRunner().invoke(cli, list(map(str, arguments)), env=environ)

    return run


def test_a_tagger_is_trained_gone_on_with_and_evaluated(run: Run, tmp_path: Path) -> None:
    source, folder = folder_of_classes(tmp_path / "colours"), tmp_path / "run"
    small = ["--arch", "timm/test_byobnet", "--image-size", 32, "--batch", 8, "--workers", 0, "--lr", 0.01]
    command = ["train", source, "--run", folder, *small, "--epochs", 2, "--from-scratch"]
    done = run(*command)
    assert done.exit_code == 0, done.output
    assert re.search(r"best of 2 epochs: epoch \d, validation mAP \d", done.output)
    kept = {runs.RUN, runs.SPLITS, runs.BEST, runs.LAST, runs.HISTORY, runs.BOARD}
    assert {path.name for path in folder.iterdir()} == kept
    assert any((folder / runs.BOARD).iterdir())

    again = run(*command)
    assert again.exit_code == 0
    assert "resuming at step 6 of 6" in again.output
    refused = run(*command, "--loss", "bce")
    assert refused.exit_code != 0
    assert str(refused.exception) == (
        f"{folder} holds another run: it was started with loss asl, not bce. Use the same options, or name a new folder"
    )

    measured = run("evaluate", folder, source, "--workers", 0)
    assert measured.exit_code == 0, measured.output
    assert re.search(r"^mAP +\d+\.\d % \(chance: 33\.3 %\)$", measured.output, re.MULTILINE)
    assert (folder / evaluation.FOLDER / evaluation.REPORT).is_file()
    assert evaluation.read_figures(folder).images == 3


def test_weights_that_are_nowhere_are_told_with_the_way_around_them(run: Run, tmp_path: Path) -> None:
    source = folder_of_classes(tmp_path / "colours")
    nowhere = tmp_path / "none.safetensors"
    nowhere.write_bytes(b"none")
    done = run("train", source, "--run", tmp_path / "run", "--start-from", nowhere, "--image-size", 32, "--batch", 4)
    assert "cannot be read as weights" in str(done.exception)


@pytest.mark.parametrize(
    ("flag", "value"), [("--lr", "nan"), ("--lr", "1e+38"), ("--clip", "nan"), ("--mirror", "nan")]
)
def test_an_option_that_is_no_number_is_named(run: Run, tmp_path: Path, flag: str, value: str) -> None:
    done = run("train", tmp_path, "--run", tmp_path / "run", flag, value)
    assert done.exit_code == 2
    assert f"Invalid value for {flag}: {value}: " in done.output
    assert not (tmp_path / "run").exists()
