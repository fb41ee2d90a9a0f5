"""Files and folders of a cache that appear whole or not at all, whoever is killed and whoever else makes them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO


def whole_file(path: Path, fill: Callable[[IO[bytes]], object], check: Callable[[Path], object] | None = None) -> None:
    """Make the file, or replace it, once `fill` has written it and `check` raises nothing about it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".part-")
    try:
        with os.fdopen(handle, "wb") as file:
            fill(file)
        if check is not None:
            check(Path(name))
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def whole_folder(folder: Path, fill: Callable[[Path], object]) -> Path:
    """The folder, filled now if it is not there. Its name says what is in it, so several processes may race."""
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".making-"))
        try:
            fill(made)
            made.replace(folder)
        except OSError:
            if not folder.is_dir():  # else another process was first, and that one serves as well
                raise
        finally:
            shutil.rmtree(made, ignore_errors=True)
    return folder
