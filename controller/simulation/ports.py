"""The rest of what a controller stands on: a store for its ledger, and a roster that reads the workers directly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import BinaryIO

from controller.simulation.cloud import Cloud
from core.errors import NotFound, PreconditionFailed
from core.fleet_changes import FleetChanges
from core.ports import Blob, Condition, Etag, IfAbsent, IfMatch, ObjectInfo, UploadForm
from core.roster import DecisionHistory, DecisionRecord, Glance, Heartbeat, Roster


class SimulatedStore:
    """Objects in memory, with the store's conditions."""

    def __init__(self) -> None:
        self._objects: dict[str, Blob] = {}
        self._version = 0

    def put(
        self,
        key: str,
        data: bytes | BinaryIO,
        *,
        content_type: str = "application/octet-stream",
        condition: Condition | None = None,
    ) -> Etag:
        there = self._objects.get(key)
        if isinstance(condition, IfAbsent) and there is not None:
            raise PreconditionFailed(key)
        if isinstance(condition, IfMatch) and (there is None or there.etag != condition.etag):
            raise PreconditionFailed(key)
        self._version += 1
        content = data if isinstance(data, bytes) else data.read()
        self._objects[key] = Blob(content, Etag(str(self._version)), content_type)
        return self._objects[key].etag

    def get(self, key: str) -> Blob:
        if key not in self._objects:
            raise NotFound(key)
        return self._objects[key]

    def copy(self, source: str, target: str) -> Etag:
        return self.put(target, self.get(source).data)

    def list(self, prefix: str, start_after: str = "") -> Iterator[ObjectInfo]:
        for key, blob in sorted(self._objects.items()):
            if key.startswith(prefix) and key > start_after:
                yield ObjectInfo(key, len(blob.data), blob.etag, 0.0)

    def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            self._objects.pop(key, None)

    def upload_form(self, key: str, *, content_type: str, max_bytes: int, expires_s: int) -> UploadForm | None:
        return None


class SimulatedRoster(Roster):
    """Heartbeats come from the workers as they are, without a store between; decisions go to whoever runs this."""

    def __init__(self, store: SimulatedStore, cloud: Cloud) -> None:
        super().__init__(store)
        self._cloud = cloud

    def glance(self) -> Glance:
        return Glance(self.workers(), frozenset(self._cloud.wishes), paused=False)

    def workers(self) -> list[Heartbeat]:
        now = self._cloud.timeline.now
        return [one.heartbeat(now) for one in self._cloud.workers.values() if one.ready_s is not None]

    def forget(self, worker_ids: list[str]) -> None:
        self._cloud.forget(worker_ids)

    def wish_drain(self, worker_id: str) -> None:
        self._cloud.wish_drain(worker_id)

    def record_decision(self, decision: DecisionRecord) -> None:
        """Nobody reads it here: a run looks at the plans."""

    def keep_history(self, history: DecisionHistory) -> None:
        """As above."""

    def keep_changes(self, changes: FleetChanges) -> None:
        """As above."""

    def history(self) -> DecisionHistory:
        return DecisionHistory()
