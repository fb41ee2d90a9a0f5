"""Files of a run that appear whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from core.errors import TrainingStopped


def write(path: Path, data: bytes) -> None:
    """Replace the file by one that is on the disk for good; until then the old one stays as it is.

    Raises TrainingStopped where that cannot be done: a full disk, a folder that is gone.
    """
    part = ""
    try:
        handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(part).replace(path)
    except OSError as error:
        if part:
            Path(part).unlink(missing_ok=True)
        kept = "the one before it is kept" if path.exists() else "there is none before it"
        raise TrainingStopped(
            f"{path} could not be written: {error.strerror}; {kept}. Once there is room, the same command goes on there"
        ) from None
