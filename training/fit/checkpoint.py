"""Save and load the state from which a training resumes bit for bit.

A checkpoint holds only tensors and plain values, so loading it runs no code. It needs no state of a random generator:
the order of the images is drawn from (seed, epoch), an image's augmentation from (seed, epoch, place in it), and the
randomness of a step (dropout) from (seed, step).
"""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

from core.errors import RunInvalid
from training.data import files

_ZIP = b"PK\x03\x04"


@dataclass(slots=True)
class Checkpoint:
    """The state of a training after `step` optimiser steps."""

    run: str
    """`TrainingRun.hash` of its run."""
    learner: dict[str, Any]
    """The result of `Learner.state`."""
    step: int = 0
    epoch: int = 0
    """The current epoch, counted from 0; the number of epochs once all are done."""
    losses: list[float] = field(default_factory=list)
    """Loss of each step of the current epoch."""
    best: float = -1.0
    """The highest mAP so far, which is that of `best.safetensors`."""
    best_epoch: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    finished: bool = False


def save(checkpoint: Checkpoint, path: Path) -> None:
    """Write the checkpoint. Raises TrainingStopped if that fails; the previous checkpoint stays."""
    data = io.BytesIO()  # torch's own writer reports a full disk as a failed C++ assertion
    torch.save({name: getattr(checkpoint, name) for name in _NAMES}, data)
    files.write(path, data.getvalue())


def load(path: Path, run: str) -> Checkpoint | None:
    """Read the checkpoint; None if there is none yet. Raises RunInvalid if it is damaged or its run is not `run`."""
    damaged = f"{path} cannot be read as a checkpoint"
    remedy = "restore it from a copy, or delete it to restart the run"
    try:
        with path.open("rb") as file:
            if file.read(len(_ZIP)) != _ZIP:  # torch would read it as its legacy format and fail with odd errors
                raise RunInvalid(f"{damaged}: it is truncated or in another format; {remedy}")
        found = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        return None
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0].partition(". ")[0]  # torch's guesses follow
        raise RunInvalid(f"{damaged}: {reason}; {remedy}") from None
    if not isinstance(found, dict) or set(found) != set(_NAMES):
        raise RunInvalid(f"{path} is not a checkpoint of a training; {remedy}")
    if found["run"] != run:
        raise RunInvalid(f"{path} is not a checkpoint of the run that run.json beside it describes; {remedy}")
    return Checkpoint(**found)


_NAMES = tuple(each.name for each in fields(Checkpoint))
