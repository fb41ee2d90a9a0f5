"""The photos of a test: all different, each with its own name."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

from core.imaging.extensions import IMAGE_EXTENSIONS
from tagfleet.loadtest.pictures import Picture
from tagfleet.loadtest.plan import LoadPlan, LoadTestError

_DISTINCT_BYTES = 4_000_000  # memory for distinct pictures of each size; the others are copies of them
_DISTINCT = range(2, 17)


class Photos:
    """An iterable of names and contents. All costly work is done at the start: a photo costs one copy or file read."""

    def __init__(self, plan: LoadPlan, *, prefix: str = "loadtest") -> None:
        """Raises LoadTestError if the folder has no photo, or a size cannot be made."""
        self._plan = plan
        self._prefix = prefix
        self._files = _files(plan.folder) if plan.folder else []
        self._pictures = [] if plan.folder else [_pictures(size, plan) for size in plan.sizes]

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        """Yield `count` pairs of name and content. Raises OSError if a file of the folder cannot be read."""
        if self._files:
            for number, path in zip(range(self._plan.count), itertools.cycle(self._files)):
                yield f"{self._prefix}/{number:06}-{path.name}", path.read_bytes()
            return
        for number in range(self._plan.count):
            of_size = self._pictures[number % len(self._pictures)]
            picture = of_size[number // len(self._pictures) % len(of_size)]
            yield f"{self._prefix}/{number:06}.jpg", picture.copy(number)


def _pictures(size: int, plan: LoadPlan) -> Sequence[Picture]:
    wanted = min(max(_DISTINCT_BYTES // size, _DISTINCT.start), _DISTINCT.stop - 1, plan.count)
    return [Picture(size, plan.seed + number) for number in range(wanted)]


def _files(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_EXTENSIONS and path.is_file())
    if not files:
        raise LoadTestError(f"{folder}: this folder contains no photos")
    return files
