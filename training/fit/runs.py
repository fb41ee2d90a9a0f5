"""A run of training: its options, and the folder in which all of it lies."""

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
    """`run.json`: what was trained on what. A second start in the same folder must say the same."""

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
    """Of the weights that it began from; empty for random ones."""
    processes: int

    def network(self, name: str = "") -> Network:
        """As the engines know it, in the precision in which it will be served."""
        return describe_network(name or self.architecture, self.architecture, self.labels, self.input)

    @property
    def hash(self) -> str:
        """Of all that decides what comes of it: data may lie under another name on the next machine."""
        return hashlib.sha256(self.model_dump_json(exclude={"dataset"}).encode()).hexdigest()


class Epoch(_Part):
    """One line of `history.csv`."""

    epoch: int
    step: int
    lr: float
    train_loss: float
    validation_loss: float
    mAP: float  # noqa: N815  # its name everywhere
    images_per_s: float


def hash_splits(fingerprint: str, parts: Mapping[str, Iterable[str]]) -> str:
    """Hex SHA-256 of a dataset's fingerprint and of which images are in which part, by name."""
    digest = hashlib.sha256(fingerprint.encode())
    for name, images in parts.items():
        digest.update(f"\n{name}\0".encode() + "\0".join(images).encode())
    return digest.hexdigest()


def read(folder: Path) -> TrainingRun:
    """Raises RunInvalid if the folder holds no run, or a damaged one."""
    path = folder / RUN
    try:
        return TrainingRun.model_validate_json(path.read_bytes())
    except OSError:
        raise RunInvalid(f"{folder} is no folder of a training: there is no {RUN} in it") from None
    except ValidationError as error:
        raise RunInvalid(f"{path} is damaged: {first_problem(error)}") from None


def begin(folder: Path, run: TrainingRun) -> bool:
    """Write `run.json`, or find that this very run was begun there before: then True.

    Raises RunInvalid if another run lies there, TrainingStopped if it cannot be written.
    """
    if (folder / RUN).exists():
        if differences := list(_differences(read(folder), run)):
            raise RunInvalid(
                f"{folder} holds another run: {'; '.join(differences)}. Repeat that one's options, or name a new folder"
            )
        return True
    if (folder / LAST).exists():
        raise RunInvalid(f"{folder} has a checkpoint and no {RUN} that says of what: name another folder")
    files.write(folder / RUN, run.model_dump_json(indent=1).encode() + b"\n")
    return False


def write_history(folder: Path, epochs: Iterable[Epoch]) -> None:
    """All of it, so that no line is there twice after a resumption."""
    text = io.StringIO()
    table = csv.DictWriter(text, list(Epoch.model_fields), lineterminator="\n")
    table.writeheader()
    table.writerows(epoch.model_dump() for epoch in epochs)
    files.write(folder / HISTORY, text.getvalue().encode())


def _differences(there: TrainingRun, wanted: TrainingRun) -> Iterable[str]:
    """What was begun, and what is asked for now."""
    for name in Options.model_fields:
        old, new = getattr(there.options, name), getattr(wanted.options, name)
        if old != new:
            yield f"it was begun with {name.replace('_', '-')} {old}, not {new}"
    if there.architecture != wanted.architecture and there.options.network == wanted.options.network:
        yield f"its network is {there.architecture}, not {wanted.architecture}"
    if there.labels != wanted.labels:
        yield f"it has {_some(there.labels)}, and the data {_some(wanted.labels)}"
    elif there.splits_sha256 != wanted.splits_sha256:
        yield "its images are others, or split otherwise"
    if there.initial_sha256 != wanted.initial_sha256:
        yield "it began from other weights"
    if there.processes != wanted.processes:
        yield f"it ran in {there.processes} processes, not {wanted.processes}"


def _some(labels: tuple[str, ...]) -> str:
    shown = ", ".join(labels[:3])
    return f"{len(labels)} labels ({shown}{', …' if len(labels) > 3 else ''})"
