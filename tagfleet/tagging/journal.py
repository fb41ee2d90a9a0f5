"""Remember which batch an interrupted `tagfleet tag` was filling, so that the same command resumes it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from core.util.atomic import atomic_write
from core.util.file_names import same_name


class Journal:
    """One small file in `folder` for each combination of service, paths and options; deleted when the batch is done."""

    def __init__(self, folder: Path, url: str, paths: Sequence[Path], options: dict[str, Any]) -> None:
        about = {"url": url, "paths": sorted(map(_place, paths)), "options": options}
        digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]
        self._path = folder / f"{digest}.json"
        self._about = about

    def batch_id(self) -> str | None:
        """Return the batch that was begun, or None if there is none or the file is unreadable."""
        try:
            return str(json.loads(self._path.read_text())["batch"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def begin(self, batch_id: str) -> None:
        """Remember the batch. Raises OSError."""
        content = json.dumps({"batch": batch_id, **self._about})
        atomic_write(self._path, content, sole_writer=True, make_parents=True)

    def end(self) -> None:
        """Forget the batch."""
        with suppress(OSError):
            self._path.unlink()


def _place(path: Path) -> str:
    """Return the path in one Unicode form if the file system treats all forms as equal, as macOS does."""
    resolved = path.resolve()
    composed = Path(same_name(str(resolved)))
    with suppress(OSError, ValueError):
        if composed.samefile(resolved):
            return str(composed)
    return str(resolved)


def sha256(path: Path) -> str:
    """Return a file's hash. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
