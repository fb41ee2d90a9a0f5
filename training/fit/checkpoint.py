"""What a training needs to go on as if it had never stopped. Only tensors and plain values: loading runs no code.

No state of a random generator is among it, as there is none to lose: the order of the images is drawn from (seed,
epoch), an image's augmentation from (seed, epoch, place in it), what a step itself draws (dropout) from (seed, step).
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
    """Of one moment, after `step` steps of the optimiser."""

    run: str
    """`TrainingRun.hash` of the run that it is of."""
    learner: dict[str, Any]
    """Of `Learner.state`."""
    step: int = 0
    epoch: int = 0
    """Number of the epoch that it is within, from 0 on; as many as there are if all are done."""
    losses: list[float] = field(default_factory=list)
    """Of the steps of this epoch so far."""
    best: float = -1.0
    """The highest mAP so far, that of `best.safetensors`."""
    best_epoch: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    finished: bool = False


def save(checkpoint: Checkpoint, path: Path) -> None:
    """Raises TrainingStopped if it cannot be written; the one before stays then."""
    data = io.BytesIO()  # torch's own writer tells a full disk by an assertion of its C++
    torch.save({name: getattr(checkpoint, name) for name in _NAMES}, data)
    files.write(path, data.getvalue())


def load(path: Path, run: str) -> Checkpoint | None:
    """None where there is none yet. Raises RunInvalid if it is damaged or of another run than the one of hash `run`."""
    damaged = f"{path} cannot be read as a checkpoint"
    remedy = "put a copy of it there, or delete it to begin the run anew"
    try:
        with path.open("rb") as file:
            if file.read(len(_ZIP)) != _ZIP:  # torch would take it for a format of former days, and fail in odd ways
                raise RunInvalid(f"{damaged}: it is cut off or something else; {remedy}")
        found = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        return None
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0].partition(". ")[0]  # torch goes on with guesses
        raise RunInvalid(f"{damaged}: {reason}; {remedy}") from None
    if not isinstance(found, dict) or set(found) != set(_NAMES):
        raise RunInvalid(f"{path} is no checkpoint of a training")
    if found["run"] != run:
        raise RunInvalid(
            f"{path} is the checkpoint of another run than run.json beside it tells: it is not gone on from"
        )
    return Checkpoint(**found)


_NAMES = tuple(each.name for each in fields(Checkpoint))
