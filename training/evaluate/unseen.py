"""Images that a run is measured on are none that it was trained on or chosen by."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path

from core.errors import DataInvalid, RunInvalid
from core.storage.models import sha256_of
from training.data import splits
from training.data.examples import Dataset, Example
from training.data.splits import Splits
from training.fit import runs
from training.fit.runs import TrainingRun


def check(folder: Path, run: TrainingRun, dataset: Dataset, wanted: Splits, test: Dataset | None = None) -> None:
    """Compare the parts that are wanted with those that the run in `folder` was trained by.

    Images of the same dataset are told by their names; those of `test`, another source in the place of the test part,
    by their bytes. Raises DataInvalid for images that are in both, RunInvalid for splits that the run did not have.
    """
    kept = splits.read(folder / runs.SPLITS)
    if runs.hash_splits(kept.fingerprint, {name: getattr(kept, name) for name in splits.NAMES}) != run.splits_sha256:
        raise RunInvalid(
            f"{folder / runs.SPLITS} is not what the run was trained by any more, so nobody knows which images it has "
            "not seen: put the old file back"
        )
    trained, chosen = frozenset(kept.train), frozenset(kept.validation)
    _refuse("validation", _named(dataset, wanted.validation.examples, trained), folder)
    if test is None:
        _refuse("test", _named(dataset, wanted.test.examples, trained | chosen), folder)
        return
    known = {dataset.root / name for name in trained | chosen} | {one.path for one in wanted.validation.examples}
    _refuse("test", [str(path) for path in _copies((one.path for one in test.examples), known)], folder)


def _refuse(part: str, wrong: Sequence[str], folder: Path) -> None:
    if wrong:
        raise DataInvalid(
            f"{len(wrong)} {part} images are among those that {folder} was trained on or chosen by, "
            f"such as {wrong[0]}: figures of them would be too good; "
            "measure it on its own split, or on images that it has never seen"
        )


def _named(dataset: Dataset, examples: Iterable[Example], names: frozenset[str]) -> list[str]:
    return [name for name in map(dataset.relative, examples) if name in names]


def _copies(paths: Iterable[Path], known: Iterable[Path]) -> Iterator[Path]:
    """Those with the bytes of a known file. Only files of one size are read; what cannot be read is passed over."""
    by_size: dict[int | None, list[Path]] = defaultdict(list)
    for path in known:
        by_size[_size(path)].append(path)
    by_size.pop(None, None)
    digest = cache(sha256_of)
    for path in paths:
        if (alike := by_size.get(_size(path))) and digest(path) in map(digest, alike):
            yield path


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
