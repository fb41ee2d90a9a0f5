"""Check that no evaluation image was used for training or model selection."""

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
    """Compare the parts to evaluate with those that the run in `folder` was trained on.

    Images of the same dataset are compared by name. `test` is another dataset that replaces the test part; its images
    are compared by their bytes. Raises DataInvalid if an image is in both, RunInvalid if the run's splits changed.
    """
    kept = splits.read(folder / runs.SPLITS)
    if runs.hash_splits(kept.fingerprint, {name: getattr(kept, name) for name in splits.NAMES}) != run.splits_sha256:
        raise RunInvalid(
            f"{folder / runs.SPLITS} changed since the run was trained, so the images that it has not seen are "
            "unknown: restore the old file"
        )
    trained, chosen = frozenset(kept.train), frozenset(kept.validation)
    _refuse("validation", _find_names(dataset, wanted.validation.examples, trained), folder)
    if test is None:
        _refuse("test", _find_names(dataset, wanted.test.examples, trained | chosen), folder)
        return
    known = {dataset.root / name for name in trained | chosen} | {one.path for one in wanted.validation.examples}
    _refuse("test", [str(path) for path in _find_copies((one.path for one in test.examples), known)], folder)


def _refuse(part: str, wrong: Sequence[str], folder: Path) -> None:
    if wrong:
        raise DataInvalid(
            f"{len(wrong)} {part} images were used to train {folder} or to choose its epoch and thresholds, "
            f"such as {wrong[0]}: their figures would be too good; "
            "evaluate it on its own split, or on images that it has never seen"
        )


def _find_names(dataset: Dataset, examples: Iterable[Example], names: frozenset[str]) -> list[str]:
    return [name for name in map(dataset.relative_name, examples) if name in names]


def _find_copies(paths: Iterable[Path], known: Iterable[Path]) -> Iterator[Path]:
    """Yield the paths with the same bytes as a known file. Reads only files of equal size and skips unreadable ones."""
    by_size: dict[int | None, list[Path]] = defaultdict(list)
    for path in known:
        by_size[_read_size(path)].append(path)
    by_size.pop(None, None)
    digest = cache(sha256_of)
    for path in paths:
        if (alike := by_size.get(_read_size(path))) and digest(path) in map(digest, alike):
            yield path


def _read_size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
