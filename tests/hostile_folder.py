"""Plant files that shadow Python's modules, to test that a program imports nothing from the folder it starts in."""

from __future__ import annotations

import sys
from pathlib import Path

PACKAGES = (
    "PIL",
    "numpy",
    "flask",
    "gunicorn",
    "structlog",
    "tagfleet",
    "core",
    "web_tier",
    "app_tier",
    "sitecustomize",
)


class HostileFolder:
    """A folder with a file for each module of the standard library and of `PACKAGES`. Importing one leaves a mark."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._marks = folder / "marks"
        self._marks.mkdir(parents=True)
        for name in [*sys.stdlib_module_names, *PACKAGES]:
            mark = str(self._marks / name)
            (folder / f"{name}.py").write_text(
                f"open({mark!r}, 'w').close()\nraise ImportError({name!r} + ' was planted')\n"
            )

    @property
    def executed(self) -> list[str]:
        """The names of the files that a Python process has imported."""
        return sorted(mark.name for mark in self._marks.iterdir())
