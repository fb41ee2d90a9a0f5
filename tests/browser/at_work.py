"""A fleet at work: what workers and controller would have written, and a queue to go with it."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from core.storage import layout
from tagfleet.testing import Deployment
from tests.browser.helpers import numbered

NOW = 1000.0
WORKER: dict[str, Any] = {
    "worker_id": "ins_06a8hkq2e3",
    "pool": "resnet50",
    "tagger": "resnet50",
    "state": "busy",
    "seq": 1,
    "at": 1000.0,
    "state_since": 988.0,
    "started_at": 900.0,
    "held": 8,
    "images_done": 1243,
    "images_failed": 3,
    "rate": 83.2,
    "boot": {"process": 0.1, "imports": 0.4, "weights": 1.1, "first_inference": 1.4, "ready": 1.6},
    "engine": "openvino bf16",
    "rss_bytes": 412_000_000,
}
SAMPLES: list[dict[str, Any]] = [
    {
        "at": 900.0 + 5 * n,
        "visible": 10 * n,
        "in_flight": n,
        "dead": 0,
        "workers": {"idle": 1, "busy": n % 3},
        "rate": 4.0 * n,
    }
    for n in range(21)
]
DECISIONS: list[dict[str, Any]] = [
    {"at": 940.0, "pool": "resnet50", "action": "launch 1", "reason": "31 images wait", "terms": {"visible": 31}},
    {"at": 980.0, "pool": "resnet50", "action": "hold", "reason": "enough workers run", "terms": {"visible": 4}},
]
CHANGES: list[dict[str, Any]] = [
    {
        "at": 941.0,
        "kind": "launched",
        "pool": "resnet50",
        "worker_id": "ins_06a8hkq2e3",
        "offering": "process",
        "by": "controller",
        "controller": "ctl_1",
        "decision": "dec_1",
        "reason": "31 images wait and no worker runs: launch 1",
    },
    {
        "at": 943.0,
        "kind": "ready",
        "pool": "resnet50",
        "worker_id": "ins_06a8hkq2e3",
        "offering": "process",
        "by": "itself",
        "reason": "1.6 s after its launch",
    },
    {
        "at": 995.0,
        "kind": "interrupted",
        "pool": "resnet50",
        "worker_id": "i-0a1b2c3d4e5f60718",
        "offering": "g4dn.xlarge spot in us-east-1b",
        "by": "owner",
        "reason": "a spot notice says that it ends at 14:05",
    },
]
POOL = {"pool": "resnet50", "wanted": "resnet50", "serves": "resnet50", "state": "ready", "notice": "", "at": 1000.0}


def put(service: Deployment, key: str, value: Any) -> None:
    service.backend.store.put(key, json.dumps(value).encode(), content_type="application/json")


def show_decision(service: Deployment, **changed: Any) -> None:
    """The controller's last decision about the pool."""
    put(service, f"{layout.DECISIONS}resnet50.json", DECISIONS[-1] | changed)


def show_pool(service: Deployment, **changed: Any) -> None:
    put(service, layout.pool_key("resnet50"), POOL | changed)


def show_worker(service: Deployment, **changed: Any) -> None:
    put(service, layout.worker_key(WORKER["worker_id"]), WORKER | changed)


def show_changes(service: Deployment, *more: dict[str, Any]) -> None:
    put(service, layout.CHANGES, {"changes": [*CHANGES, *more]})


def show_samples(service: Deployment, samples: list[dict[str, Any]]) -> None:
    """In place of all that there are."""
    rows = [(int(one["at"] // 5) % 720, one["at"], json.dumps(one)) for one in samples]
    with sqlite3.connect(service.settings.home / "catalog.db", timeout=30) as catalogue:
        catalogue.execute("DELETE FROM samples")
        catalogue.executemany("INSERT INTO samples (slot, at, sample) VALUES (?, ?, ?)", rows)
    catalogue.close()


def show_fleet(service: Deployment) -> None:
    """One worker with 8 photos in hand, 31 that wait and one that was given up, at the moment `NOW`."""
    service.clock.set(NOW)
    service.show_workers()
    show_worker(service)
    show_pool(service)
    show_decision(service)
    put(service, layout.HISTORY, {"records": DECISIONS})
    show_changes(service)
    show_samples(service, SAMPLES)


def show_queue(service: Deployment) -> None:
    service.add_batch("at work", {"a.jpg": b"a", **numbered(39)}, close=True)
    service.give_up("a.jpg")
    service.tagger.rest()
    service.backend.jobs("resnet50").receive(8, 0)
