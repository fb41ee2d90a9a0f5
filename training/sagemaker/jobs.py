"""Follow a training job on SageMaker to its end, and fetch its run."""

from __future__ import annotations

import gzip
import shutil
import tarfile
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from core.errors import RunInvalid, TrainingStopped
from training.fit import runs
from training.sagemaker.training_jobs import JobState, LogPosition, TrainingJobs

ENTRYPOINT = ("python", "-P", "-m", "training.sagemaker.container")
POLL_S = 15.0
_PORTION = 1 << 20
_MOST_BYTES = 50 << 30
"""Maximum unpacked size of a run's archive."""


def follow(jobs: TrainingJobs, name: str, pause: Callable[[float], None] = time.sleep) -> Iterator[str]:
    """Yield the lines of the job's log and its changes of state, until the job completes.

    Following does not affect the job. Raises TrainingStopped if the job failed or was stopped.
    """
    position: LogPosition | None = None
    shown = ""
    while True:
        state = jobs.state(name)  # before the log, so that no last lines of an ended job are missed
        doing = ": ".join(filter(None, (state.phase or state.status, state.message)))
        if doing != shown:
            yield f"[{doing}]"
            shown = doing
        lines, position = jobs.log(name, position)
        yield from lines
        if state.ended:
            break
        pause(POLL_S)
    if state.status != "Completed":
        why = f": {state.why}" if state.why else ""
        raise TrainingStopped(f"the training job {name} ended as {state.status.lower()}{why}")
    yield _format_cost(state)


def fetch(jobs: TrainingJobs, name: str, folder: Path) -> runs.TrainingRun:
    """Download the run of a completed job into `folder`, which must not exist yet.

    Raises TrainingStopped if the job is not completed, NotFound if its archive is gone, and RunInvalid if the archive
    is not a run, has entries that do not belong into one, or `folder` exists.
    """
    state = jobs.state(name)
    if state.status != "Completed":
        why = f": {state.why}" if state.why else ""
        raise TrainingStopped(f"the training job {name} is {state.status}{why}: there is no run to fetch")
    if folder.exists():
        raise RunInvalid(f"{folder} exists already: name a new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        archive, unpacked = Path(scratch) / "model.tar.gz", Path(scratch) / "run"
        with archive.open("wb") as file:
            jobs.download(state.artefact, file)
        unpack(archive, unpacked)
        run = runs.read(unpacked)
        unpacked.rename(folder)
    return run


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a tar.gz of files and folders only: no links, no devices, and no path outside `folder`.

    Raises RunInvalid, also if gzip's checksum is wrong; files that are unpacked by then stay.
    """
    left = _MOST_BYTES
    try:
        with gzip.open(archive) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
            for member in tar:
                target = folder / _check_member(member)
                left -= member.size
                if left < 0:
                    raise RunInvalid(f"the archive unpacks to more than {_MOST_BYTES >> 30} GB, so it is not a run")
                if member.isdir():
                    target.mkdir(parents=True, exist_ok=True)
                elif (source := tar.extractfile(member)) is not None:
                    _write(source, target)
            while stream.read(_PORTION):  # read on to the checksum, which follows the last file
                pass
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise RunInvalid(f"the archive of the run cannot be unpacked: {error}") from None


def _check_member(member: tarfile.TarInfo) -> PurePosixPath:
    name = PurePosixPath(member.name)
    if not (member.isreg() or member.isdir()) or name.is_absolute() or ".." in name.parts:
        raise RunInvalid(f"the archive has {member.name!r}, which is not a file inside its folder: nothing is fetched")
    return name


def _write(source: IO[bytes], target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with source, target.open("xb") as file:
        shutil.copyfileobj(source, file)


def _format_cost(state: JobState) -> str:
    saved = f", {100 * (1 - state.billed_s / state.trained_s):.0f} % saved by spot" if state.trained_s else ""
    return f"[trained for {state.trained_s / 3600:.1f} h, billed {state.billed_s / 3600:.1f} h{saved}]"
