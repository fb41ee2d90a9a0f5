"""Files of a run that appear whole or not at all."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from core.errors import TrainingStopped
from core.util.disk_errors import sync_folder


def folder(path: Path) -> None:
    """Make it, with those above it, where it is not there yet. Raises TrainingStopped if something is in the way."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingStopped(f"the folder {path} cannot be made: {error.strerror}; name another one") from None


def write(path: Path, data: bytes) -> None:
    """Replace the file by one that is on the disk for good; until then the old one stays as it is.

    Raises TrainingStopped where that cannot be done: a full disk, a folder that is gone.
    """
    part = path.with_name(f".{path.name}.part")  # one name, so that what a killed process left is written over
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        kept = "the one before it is kept" if path.exists() else "there is none before it"
        raise TrainingStopped(
            f"{path} could not be written: {error.strerror}; {kept}. Once that is mended, start the same command again"
        ) from None
