"""Write the files of a run. A file appears whole or not at all, and an error says what to do next."""

from __future__ import annotations

from pathlib import Path

from core.errors import TrainingStopped
from core.util.atomic import atomic_write


def make_folder(path: Path) -> None:
    """Make the folder and its parents. Raises TrainingStopped if that fails."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingStopped(f"the folder {path} cannot be made: {error.strerror}; name another one") from None


def write(path: Path, data: bytes) -> None:
    """Replace the file durably. The old one stays until the new one is on the disk.

    Raises TrainingStopped if that fails: the disk is full, or the folder is gone.
    """
    try:
        # A sole writer uses one temporary name, and so overwrites what a killed process left.
        atomic_write(path, data, durable=True, sole_writer=True)
    except OSError as error:
        kept = "its previous version is kept" if path.exists() else "there is no previous version"
        raise TrainingStopped(
            f"{path} could not be written: {error.strerror}; {kept}. Solve that, and run the same command again"
        ) from None
