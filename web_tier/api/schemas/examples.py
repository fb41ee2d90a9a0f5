"""Examples of the description's shapes, by the names of their schemas; a test holds each against its schema."""

from __future__ import annotations

from typing import Any

from web_tier.api.schemas.examples_access import EXAMPLES as ACCESS_EXAMPLES

_BATCH: dict[str, Any] = {
    "id": "bat_01mcc5rm009ndjwtegjtmx",
    "status": "in_progress",
    "tagger": "resnet50",
    "request_counts": {"total": 90, "completed": 41, "failed": 1, "cancelled": 0},
    "workers": {"ready": 1, "booting": 0},
    "rate": 83.1,
    "eta_s": 0.6,
    "created_at": "2027-01-15T08:00:00.000+00:00",
    "closed_at": "2027-01-15T08:00:09.412+00:00",
    "completed_at": None,
    "cancelled_at": None,
    "expires_at": None,
    "metadata": {"album": "Rome"},
    "options": {
        "top_k": 5,
        "min_confidence": 0.05,
        "cumulative": None,
        "tasks": None,
        "candidates": None,
        "max_tags": None,
        "include": [],
        "exclude": [],
    },
}
_ITEM: dict[str, Any] = {
    "image_id": "img_01mcc5rm00h8zqk4w2v6na",
    "batch_id": _BATCH["id"],
    "name": "holiday/b.jpg",
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "bytes": 81_920,
    "status": "succeeded",
    "error": None,
    "caption": None,
    "tags": [
        {"name": "golden retriever", "confidence": 0.93, "source": "model", "instances": []},
        {
            "name": "our dog",
            "confidence": None,
            "source": "person",
            "instances": [{"box": [0.1, 0.2, 0.4, 0.5], "confidence": None}],
        },
    ],
    "edited": True,
    "timings_ms": {"queue": 812.0, "fetch": 2.0, "decode": 4.0, "infer": 21.0},
    "tagger": "resnet50@1dd8f080",
    "created_at": "2027-01-15T08:00:02.105+00:00",
    "finished_at": "2027-01-15T08:00:02.944+00:00",
    "origin": None,
}
_REGISTERED = {
    "reference": "coco80@1a2b3c4d",
    "name": "coco80",
    "version": "1a2b3c4d",
    "default": True,
    "family": "multilabel",
    "architecture": "torchvision/resnet50",
    "labels": 80,
    "bytes": 94_600_000,
    "metrics": {"mAP": 0.76},
    "trained_on": "COCO train2017, 118,287 images",
    "licence": "CC BY 4.0",
    "card": "# coco80\nWhat it was trained on, and what it was measured to do.",
    "created_at": "2027-01-15T08:00:00.000+00:00",
}
_EDIT = "edt_01mcc5rm00k2c7d8e9fgh3"
_SAMPLE = {
    "at": 1_800_000_005.0,
    "visible": 41,
    "in_flight": 8,
    "dead": 0,
    "workers": {"busy": 1},
    "rate": 83.1,
}
_DECISION = {
    "id": "dec_01mcc5rm00x3h8d0c2k9fb",
    "at": 1_800_000_001.2,
    "pool": "resnet50",
    "action": "launch 1",
    "reason": "90 images wait and no worker runs: launch 1",
    "terms": {"rule": "launch", "visible": 90, "wanted": 1},
}
_CHANGE = {
    "at": 1_800_000_002.2,
    "kind": "launched",
    "pool": "resnet50",
    "worker_id": "i-0a1b2c3d4e5f60718",
    "offering": "g4dn.xlarge spot in us-east-1b",
    "by": "controller",
    "controller": "ctl_01mcc5rm00t8v2k1s6x4zc",
    "decision": _DECISION["id"],
    "reason": _DECISION["reason"],
}

EXAMPLES: dict[str, dict[str, Any]] = {
    "BatchRequest": {
        "tagger": "resnet50",
        "options": {"max_tags": 3, "min_confidence": 0.2, "exclude": ["web site"]},
        "metadata": {"album": "Rome"},
    },
    "BatchOut": _BATCH,
    "BatchesOut": {"batches": [_BATCH], "next_cursor": None},
    "ItemOut": _ITEM,
    "UploadOut": {"images": [{**_ITEM, "status": "queued", "tags": [], "tagger": None, "finished_at": None}]},
    "ResultsOut": {"results": [_ITEM], "next_cursor": "41"},
    "RetryRequest": {"image_ids": [_ITEM["image_id"]]},
    "RetryOut": {"retried": 1, "batch": _BATCH},
    "CheckRequest": {"sha256": [_ITEM["sha256"]], "batch_id": None},
    "CheckOut": {"known": {_ITEM["sha256"]: _ITEM["image_id"]}},
    "KnownRequest": {"images": [{"name": _ITEM["name"], "sha256": _ITEM["sha256"]}]},
    "FormRequest": {"batch_id": _BATCH["id"]},
    "FormOut": {
        "image_id": _ITEM["image_id"],
        "url": "https://store.example/",
        "fields": {"key": f"images/{_BATCH['id']}/{_ITEM['image_id']}"},
        "expires_at": "2027-01-15T08:15:00.000+00:00",
    },
    "KnownOut": {"images": [_ITEM, None]},
    "TagEdit": {"add": ["our dog"], "remove": ["sofa"]},
    "BulkEdit": {"image_ids": [_ITEM["image_id"]], "add": ["our dog"], "remove": []},
    "Undo": {"edit_id": _EDIT},
    "FeedbackRequest": {"tag": "golden retriever", "verdict": "reject"},
    "EditedOut": {"image": _ITEM, "edit_id": _EDIT},
    "BulkEditedOut": {"images": [_ITEM], "edit_id": _EDIT},
    "TagsOut": {"tags": [{"name": "golden retriever", "count": 41}]},
    "SearchOut": {"images": [_ITEM], "next_cursor": None},
    "Problem": {
        "type": "about:blank",
        "title": "Conflict",
        "status": 409,
        "detail": f"batch {_BATCH['id']} is closed and takes no more images; create another one",
        "request_id": "req_01mcc5rm00x3h8d0c2k9fb",
    },
    "PauseOut": {"paused": True},
    "DrainOut": {"worker_id": "lau_01mcc5rm00q7w9x3y5z2ab-0"},
    "DeadLettersOut": {
        "dead_letters": [
            {
                "pool": "resnet50",
                "batch_id": _BATCH["id"],
                "image_id": _ITEM["image_id"],
                "name": _ITEM["name"],
                "received": 6,
                "sent_at": 1_800_000_002.1,
            }
        ]
    },
    "RedriveRequest": {"pool": "resnet50"},
    "RedriveOut": {"redriven": 1},
    "DefaultRequest": {"version": "1a2b3c4d"},
    "RegisteredOut": {"models": [_REGISTERED], "damaged": []},
    "CapRequest": {"max_workers": 8},
    "CapOut": {"cap": 8, "cap_source": "operator"},
    "HistoryOut": {"samples": [_SAMPLE], "decisions": [_DECISION], "changes": [_CHANGE]},
    "HealthOut": {"status": "ready"},
    **ACCESS_EXAMPLES,
}
