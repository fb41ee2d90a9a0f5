"""The program in SageMaker's container: run `tagfleet train`, then `tagfleet evaluate`, in SageMaker's folders.

The arguments are those of `tagfleet train`. SageMaker's contract:

1. The data of a channel is in `/opt/ml/input/data/CHANNEL`.
2. SageMaker copies `/opt/ml/checkpoints` to S3 while the job runs, and restores it after an interruption.
3. The content of `/opt/ml/model` at the end is the result.
4. The first 1,024 characters of `/opt/ml/output/failure` are the reason of a failure.

A failed evaluation does not fail the job, because training is expensive and an evaluation is easily repeated.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from core.errors import DataInvalid
from core.util.interpreter import module_command, python_command
from training.data import splits
from training.evaluate import evaluation
from training.fit import runs
from training.sagemaker.training_jobs import CHECKPOINTS, DATA, WEIGHTS

ROOT = Path("/opt/ml")
_LAST_LINES = 5
_LONGEST_WHY = 1024

_LATER = "once fetched: `tagfleet evaluate RUN SOURCE`, with `--test OTHER` if there is no test part"

Execute = Callable[[Sequence[str]], tuple[int, str]]
"""Runs a command and returns its exit code and the last lines of its stderr."""


def main(arguments: Sequence[str], root: Path, gpus: int, execute: Execute) -> int:
    """Train and evaluate, and return the exit code: 0 if `root`/model has trained weights, even without evaluation."""
    source = root / "input" / "data" / DATA
    run = root / Path(CHECKPOINTS).name / "run"
    measurable = _has_test_part(source)
    if not measurable:
        _note(f"{runs.SPLITS} has no test part, so the run will not be evaluated here; {_LATER}")
    code, last_lines = execute(train_command(arguments, root, run, gpus))
    if code:
        (root / "output").mkdir(parents=True, exist_ok=True)
        (root / "output" / "failure").write_text(
            last_lines[-_LONGEST_WHY:] or f"training ended with exit code {code}", encoding="utf-8"
        )
        return code
    leave_out = shutil.ignore_patterns(runs.LAST, ".*")
    shutil.copytree(run, root / "model", ignore=leave_out, dirs_exist_ok=True)
    if measurable:
        code, _ = execute(_evaluate_command(source, run))
        if code:
            _note(f"the evaluation failed (exit code {code}), the trained run is kept; {_LATER}")
        else:
            made = run / evaluation.FOLDER
            shutil.copytree(made, root / "model" / evaluation.FOLDER, dirs_exist_ok=True)
    return 0


def train_command(arguments: Sequence[str], root: Path, run: Path, gpus: int) -> list[str]:
    """Return the training command, with one process per GPU. It resumes a run that is in the checkpoint folder."""
    source = root / "input" / "data" / DATA
    each = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(gpus))
    tagfleet = module_command("tagfleet")
    if gpus > 1:  # without `--`, torch takes --run for its own option
        tagfleet = python_command(*each, "-m", "--", "tagfleet")
    command = [*tagfleet, "train", str(source), "--run", str(run)]
    if (source / runs.SPLITS).is_file():
        command += ["--splits", str(source / runs.SPLITS)]
    weights = root / "input" / "data" / WEIGHTS
    if files := sorted(path for path in weights.rglob("*") if path.is_file()):
        command += ["--start-from", str(files[0])]
    return [*command, *arguments]


def _has_test_part(source: Path) -> bool:
    """Return False if the given split has no test part. A new split has one; training reports a damaged file."""
    with suppress(DataInvalid):
        return bool(splits.read(source / runs.SPLITS).test)
    return True


def _note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201  # the job's log


def _evaluate_command(source: Path, run: Path) -> list[str]:
    return [*module_command("tagfleet"), "evaluate", str(run), str(source)]


def _execute(command: Sequence[str]) -> tuple[int, str]:
    """Run the command with its output going to ours, which is the job's log. Passes SIGTERM on."""
    environ = {**os.environ, "PYTHONSAFEPATH": "1"}  # torch starts a Python for each GPU itself
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, errors="replace", env=environ)  # noqa: S603  # ours
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    last: deque[str] = deque(maxlen=_LAST_LINES)
    assert child.stderr is not None  # noqa: S101  # asked for above
    for line in child.stderr:
        sys.stderr.write(line)
        last.append(line)
    return child.wait(), "".join(last).strip()


if __name__ == "__main__":
    import torch

    sys.exit(main(sys.argv[1:], ROOT, torch.cuda.device_count(), _execute))
