"""A fleet at work, as the fake service tells of it."""

from __future__ import annotations

from typing import Any

WORKER: dict[str, Any] = {
    "worker_id": "ins_06a8hkq2e3",
    "pool": "resnet50",
    "tagger": "resnet50",
    "state": "busy",
    "at": 1000.0,
    "state_since": 988.0,
    "held": 8,
    "images_done": 1243,
    "images_failed": 3,
    "rate": 83.2,
    "boot": {"process": 0.1, "imports": 0.4, "weights": 1.1, "first_inference": 1.4, "ready": 1.6},
    "engine": "openvino bf16",
    "rss_bytes": 412_000_000,
    "notice": "",
}
FLEET: dict[str, Any] = {
    "queues": {"resnet50": {"visible": 31, "in_flight": 8, "delayed": 0, "dead": 1, "read_at": 1000.0}},
    "workers": [WORKER],
    "pools": [{"pool": "resnet50", "wanted": "resnet50", "serves": "resnet50", "state": "ready", "notice": ""}],
    "decisions": [
        {"at": 980.0, "pool": "resnet50", "action": "hold", "reason": "enough workers run", "terms": {"visible": 4}}
    ],
    "paused": False,
    "cap": 4,
    "cap_source": "settings",
}
SAMPLES = [
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
DECISIONS = [
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
DEAD = {"pool": "resnet50", "batch_id": "bat_1", "image_id": "img_1", "name": "a.jpg", "received": 5, "sent_at": 1.0}
