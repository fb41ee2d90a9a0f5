"""The folder of a training run: `run.json`, `history.csv`, and the names of its other files."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from app_tier.models.networks import Network, describe_network
from config.validation import first_problem
from core.errors import RunInvalid
from core.storage.models import Input
from training.data import files
from training.fit.options import Options

RUN = "run.json"
SPLITS = "splits.json"
BEST = "best.safetensors"
LAST = "last.pt"
HISTORY = "history.csv"
BOARD = "tensorboard"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TrainingRun(_Part):
    """`run.json`: what is trained on which data. Resuming in the same folder requires an equal one."""

    format: Literal[1] = 1
    family: Literal["multilabel"] = "multilabel"
    options: Options
    architecture: str
    input: Input
    labels: tuple[str, ...]
    dataset: str
    splits_sha256: str
    """`hash_splits` of `splits.json`, which names every image."""
    initial_sha256: str
    """Hex SHA-256 of the initial weights; empty for random ones."""
    processes: int

    def network(self, name: str = "") -> Network:
        """Return the network as the engines describe it, in the precision that serves it."""
        return describe_network(name or self.architecture, self.architecture, self.labels, self.input)

    @property
    def hash(self) -> str:
        """Hex SHA-256 of everything that determines the result. The dataset's name may differ between machines."""
        return hashlib.sha256(self.model_dump_json(exclude={"dataset"}).encode()).hexdigest()


class Epoch(_Part):
    """One row of `history.csv`."""

    epoch: int
    step: int
    lr: float
    train_loss: float
    validation_loss: float
    mAP: float  # noqa: N815  # its name everywhere
    images_per_s: float


def hash_splits(fingerprint: str, parts: Mapping[str, Iterable[str]]) -> str:
    """Return the hex SHA-256 of a dataset's fingerprint and of the names of the images in each part."""
    digest = hashlib.sha256(fingerprint.encode())
    for name, images in parts.items():
        digest.update(f"\n{name}\0".encode() + "\0".join(images).encode())
    return digest.hexdigest()


def read(folder: Path) -> TrainingRun:
    """Read `run.json`. Raises RunInvalid if it is missing or damaged."""
    path = folder / RUN
    try:
        return TrainingRun.model_validate_json(path.read_bytes())
    except OSError:
        raise RunInvalid(f"{folder} is not the folder of a training: it has no {RUN}") from None
    except ValidationError as error:
        raise RunInvalid(f"{path} is damaged: {first_problem(error)}") from None


def begin(folder: Path, run: TrainingRun) -> bool:
    """Write `run.json`. Returns True if the folder already has this run.

    Raises RunInvalid if the folder has another run, TrainingStopped if the file cannot be written.
    """
    if (folder / RUN).exists():
        if differences := list(_find_differences(read(folder), run)):
            raise RunInvalid(
                f"{folder} holds another run: {'; '.join(differences)}. Use the same options, or name a new folder"
            )
        return True
    if (folder / LAST).exists():
        raise RunInvalid(f"{folder} has a checkpoint but no {RUN} that describes it: name another folder")
    files.write(folder / RUN, run.model_dump_json(indent=1).encode() + b"\n")
    return False


def write_history(folder: Path, epochs: Iterable[Epoch]) -> None:
    """Rewrite `history.csv` as a whole, so that a resumed training repeats no row."""
    text = io.StringIO()
    table = csv.DictWriter(text, list(Epoch.model_fields), lineterminator="\n")
    table.writeheader()
    table.writerows(epoch.model_dump() for epoch in epochs)
    files.write(folder / HISTORY, text.getvalue().encode())


def _find_differences(there: TrainingRun, wanted: TrainingRun) -> Iterable[str]:
    """Yield each difference between the run in the folder and the requested one, for people."""
    for name in Options.model_fields:
        old, new = getattr(there.options, name), getattr(wanted.options, name)
        if old != new:
            yield f"it was started with {name.replace('_', '-')} {old}, not {new}"
    if there.architecture != wanted.architecture and there.options.network == wanted.options.network:
        yield f"its network is {there.architecture}, not {wanted.architecture}"
    if there.labels != wanted.labels:
        yield f"it has {_format_labels(there.labels)}, and the data {_format_labels(wanted.labels)}"
    elif there.splits_sha256 != wanted.splits_sha256:
        yield "its images or their split differ"
    if there.initial_sha256 != wanted.initial_sha256:
        yield "it started from other weights"
    if there.processes != wanted.processes:
        yield f"it ran in {there.processes} processes, not {wanted.processes}"


def _format_labels(labels: tuple[str, ...]) -> str:
    shown = ", ".join(labels[:3])
    return f"{len(labels)} labels ({shown}{', …' if len(labels) > 3 else ''})"
