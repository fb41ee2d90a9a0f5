"""Send photos to a service and wait for their tags. After an interruption, a repeated call resumes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from core.util.file_names import same_name
from tagfleet.client import Batch, Client, ClientError, Item, Missing, UnreadableFile
from tagfleet.tagging.journal import Journal, sha256

_NAME_KEPT = 1024
"""The service cuts longer names."""


class Progress(Protocol):
    """Receives the progress of a call. Two threads call it."""

    def begin(self, total: int, uploaded: int) -> None: ...
    def uploaded(self, files: int, bytes: int) -> None: ...
    def tagged(self, batch: Batch) -> None: ...


@dataclass
class TaggingOutcome:
    """The finished batch and the files that could not be read."""

    batch: Batch
    unreadable: list[UnreadableFile] = field(default_factory=list)
    kept: int = 0
    """Files that an earlier, interrupted call had uploaded."""


def tag(
    client: Client,
    files: Mapping[str, Path],
    journal: Journal,
    progress: Progress,
    *,
    tagger: str | None,
    options: Mapping[str, Any],
    begun: Callable[[Batch], None] = lambda batch: None,
) -> TaggingOutcome:
    """Upload the files that the service lacks, close the batch and wait for its end. Raises ClientError, OSError."""
    batch, missing = _resume(client, files, journal)
    if batch is None:
        batch, missing = client.create_batch(tagger, **options), dict(files)
        journal.begin(batch.id)
    begun(batch)
    outcome = TaggingOutcome(batch, kept=len(files) - len(missing))
    progress.begin(len(files), outcome.kept)
    follower = _Follower(client, batch, progress)
    follower.start()
    if missing:
        client.upload(
            batch,
            missing.items(),
            progress=lambda items: progress.uploaded(len(items), sum(item.bytes for item in items)),
            unreadable=outcome.unreadable.append,
        )
    client.close(batch)
    outcome.batch = follower.result()
    journal.end()
    return outcome


def _resume(client: Client, files: Mapping[str, Path], journal: Journal) -> tuple[Batch | None, dict[str, Path]]:
    """Return the batch of an interrupted call, and the files that it lacks; no batch if the call cannot resume."""
    id_ = journal.batch_id()
    if id_ is None:
        return None, {}
    try:
        batch = client.batch(id_)
        there: dict[str, set[str]] = {}
        for item in client.results(batch):
            there.setdefault(same_name(item.name), set()).add(item.sha256)
    except Missing:  # a new deployment, or another home
        return None, {}
    missing = {
        name: path
        for name, path in files.items()
        if not _is_there(path, there.get(same_name(name[:_NAME_KEPT]), set()))
    }
    if missing and batch.closed_at:  # the folder has changed since everything was sent
        return None, {}
    return batch, missing


def _is_there(path: Path, digests: set[str]) -> bool:
    try:
        return bool(digests) and sha256(path) in digests
    except OSError:
        return False


class _Follower(threading.Thread):
    """Reads the batch's events during the upload. It is a daemon thread, so an interruption does not wait for it."""

    def __init__(self, client: Client, batch: Batch, progress: Progress) -> None:
        super().__init__(name="follower", daemon=True)
        self._client = client
        self._batch = batch
        self._progress = progress
        self._error: ClientError | None = None

    def run(self) -> None:
        try:
            for event in self._client.events(self._batch):
                if not isinstance(event, Item):
                    self._batch = event
                    self._progress.tagged(event)
        except ClientError as error:
            self._error = error

    def result(self) -> Batch:
        """Wait for the end of the batch and return it. Raises ClientError."""
        self.join()
        if self._error:
            raise self._error
        return self._batch
