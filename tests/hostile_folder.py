"""A folder whose files hide modules of Python's library: whichever is executed says so."""

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
    """`executed` are the names of the files that some Python has run as a module of its own."""

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
        return sorted(mark.name for mark in self._marks.iterdir())
