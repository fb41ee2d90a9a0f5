"""Remembers which batch a `tagfleet tag` was filling, so that the next one of the same kind goes on with it."""

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
    """One small file in `folder` for each (service, paths, options); gone once the batch is done."""

    def __init__(self, folder: Path, url: str, paths: Sequence[Path], options: dict[str, Any]) -> None:
        about = {"url": url, "paths": sorted(map(_place, paths)), "options": options}
        digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]
        self._path = folder / f"{digest}.json"
        self._about = about

    def batch_id(self) -> str | None:
        """The batch that was begun; None where none was, or nobody can tell."""
        try:
            return str(json.loads(self._path.read_text())["batch"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def begin(self, batch_id: str) -> None:
        """Raises OSError."""
        content = json.dumps({"batch": batch_id, **self._about})
        atomic_write(self._path, content, sole_writer=True, make_parents=True)

    def end(self) -> None:
        with suppress(OSError):
            self._path.unlink()


def _place(path: Path) -> str:
    """The path in one form, where the file system takes all forms of its name for one, as macOS does."""
    resolved = path.resolve()
    composed = Path(same_name(str(resolved)))
    with suppress(OSError, ValueError):
        if composed.samefile(resolved):
            return str(composed)
    return str(resolved)


def sha256(path: Path) -> str:
    """Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
