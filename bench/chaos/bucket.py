"""Tag a bucket while things break: `tagfleet tag s3://…` runs beside the uploads, is killed too, and resumes.

The bucket is in `bench.small_cloud`; queue and results are the deployment's own. Workers pack the results.
"""

from __future__ import annotations

import io
import subprocess
import threading
import urllib.request
from collections.abc import Sequence
from typing import Any

from bench.chaos.reckoning import RunReckoning, RunRow, reckon_run
from bench.deployment import TAGFLEET, Deployment
from core.storage import layout, packs
from core.storage.ports import ObjectStore
from tagfleet.bulk.state import Portion, RunState

_BUCKET, _RUN = "photos", "chaos"
_RUN_ID = f"run_{_RUN}"
_LEAD = 100
"""Few, so that the run records its progress often."""
_PAUSE_S = 0.3


def fill_bucket(url: str, photos: Sequence[tuple[str, bytes]]) -> list[str]:
    """Put photos into the bucket of the stand-in at `url`. Return their addresses."""
    for name, content in photos:
        request = urllib.request.Request(f"{url}/{_BUCKET}/{name}", content, method="PUT")
        urllib.request.urlopen(request, timeout=60).close()
    return [f"s3://{_BUCKET}/{name}" for name, _ in photos]


class BucketTagging(threading.Thread):
    """Runs the command again and again until its run is finished. `starts` counts how often."""

    def __init__(self, deployment: Deployment, uris: Sequence[str]) -> None:
        super().__init__(name="bucket", daemon=True)
        self.uris = uris
        self.starts = 0
        self.said = ""
        """What the last command printed."""
        self._deployment = deployment
        self._stopped = threading.Event()

    def run(self) -> None:
        command = [*TAGFLEET, "tag", f"s3://{_BUCKET}/", "--run", _RUN, "--lead", str(_LEAD)]
        while not self._stopped.is_set():
            self.starts += 1
            done = subprocess.run(command, env=self._deployment.environ, capture_output=True, text=True, check=False)
            self.said = done.stdout + done.stderr
            if "images tagged" in self.said:  # its exit code is 1 also where an image failed
                return
            self._stopped.wait(_PAUSE_S)

    def stop(self) -> None:
        """Do not start the command again."""
        self._stopped.set()

    def reckon(self) -> RunReckoning:
        """Count what became of the photos. Only after the run has finished."""
        store = self._deployment.backend.store
        state = RunState.model_validate_json(store.get(layout.run_key(_RUN_ID)).data)
        return reckon_run(self.uris, _rows(store, state), _misplaced(store, state), self.starts)


def _rows(store: ObjectStore, state: RunState) -> list[RunRow]:
    from pyarrow import parquet

    rows: list[RunRow] = []
    for number in range(1, state.portions + 1):
        key = layout.part_key(_RUN_ID, number)
        if number == state.portions and not any(True for _ in store.list(key)):
            continue  # the last portion may be empty
        found: list[dict[str, Any]] = parquet.read_table(io.BytesIO(store.get(key).data)).to_pylist()
        rows += [RunRow(row["uri"], bool(row["tags"]), row["error"]) for row in found]
    return rows


def _misplaced(store: ObjectStore, state: RunState) -> int:
    """Count packed results whose image is not the one at their position."""
    count = 0
    for number in range(1, state.portions + 1):
        portion = Portion.model_validate_json(store.get(layout.portion_key(_RUN_ID, number)).data)
        for found in packs.list_results(store, _RUN_ID, number):
            if not found.is_pack:
                continue
            results = list(packs.read_pack(store.get(found.key).data))
            there = [(packs.place_of(result.image_id), result.name) for result in results]
            wanted = [((number, at), portion.uris[at].removeprefix(f"s3://{_BUCKET}/")) for at in found.positions]
            count += sum(one != other for one, other in zip(there, wanted, strict=True))
    return count
