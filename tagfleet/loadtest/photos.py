"""The photos of a test, one after the other, no two alike and each with a name of its own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

from core.imaging.extensions import IMAGE_EXTENSIONS
from tagfleet.loadtest.errors import LoadTestError
from tagfleet.loadtest.pictures import Picture
from tagfleet.loadtest.plan import Plan

_DISTINCT_BYTES = 4_000_000  # of pictures that are kept to be copied, for each size
_DISTINCT = range(2, 17)


class Photos:
    """Made before the clock starts: what is left to do for each photo is a copy, or to read a file."""

    def __init__(self, plan: Plan, *, prefix: str = "loadtest") -> None:
        """Raises LoadTestError where the folder has no photo, or a size cannot be made."""
        self._plan = plan
        self._prefix = prefix
        self._files = _files(plan.folder) if plan.folder else []
        self._pictures = [] if plan.folder else [_pictures(size, plan) for size in plan.sizes]

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        """`count` pairs of name and content. Raises OSError where a file of the folder cannot be read."""
        if self._files:
            for number, path in zip(range(self._plan.count), itertools.cycle(self._files)):
                yield f"{self._prefix}/{number:06}-{path.name}", path.read_bytes()
            return
        for number in range(self._plan.count):
            of_size = self._pictures[number % len(self._pictures)]
            picture = of_size[number // len(self._pictures) % len(of_size)]
            yield f"{self._prefix}/{number:06}.jpg", picture.copy(number)


def _pictures(size: int, plan: Plan) -> Sequence[Picture]:
    wanted = min(max(_DISTINCT_BYTES // size, _DISTINCT.start), _DISTINCT.stop - 1, plan.count)
    return [Picture(size, plan.seed + number) for number in range(wanted)]


def _files(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_EXTENSIONS and path.is_file())
    if not files:
        raise LoadTestError(f"{folder}: there is no photo to send in this folder")
    return files
