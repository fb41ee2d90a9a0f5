"""Write the files of a run: a file appears whole or not at all, and an error says how to go on."""

from __future__ import annotations

from pathlib import Path

from core.errors import TrainingStopped
from core.util.atomic import atomic_write


def folder(path: Path) -> None:
    """Make the folder and those above it. Raises TrainingStopped if something is in the way."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingStopped(f"the folder {path} cannot be made: {error.strerror}; name another one") from None


def write(path: Path, data: bytes) -> None:
    """Replace the file durably; until the new one is on the disk the old one stays as it is.

    Raises TrainingStopped where that fails: the disk is full, or the folder is gone.
    """
    try:
        # One name for the part, so that it writes over what a killed process left.
        atomic_write(path, data, durable=True, sole_writer=True)
    except OSError as error:
        kept = "the one before it is kept" if path.exists() else "there is none before it"
        raise TrainingStopped(
            f"{path} could not be written: {error.strerror}; {kept}. Once that is mended, start the same command again"
        ) from None
