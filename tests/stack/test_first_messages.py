"""S3's test events in a new queue start no worker, and no other message is lost."""

from __future__ import annotations

import json
from pathlib import Path

from core.domain.messages import Feedback, Job, TagOptions, encode
from core.local.queue import LocalQueue
from tagfleet.deployment.up import drop_test_events

TEST = json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent", "Time": "2026-01-01T00:00:00.000Z", "Bucket": "in"})


def test_test_events_go_and_work_stays(tmp_path: Path) -> None:
    queue = LocalQueue(tmp_path / "queues.db", "jobs", visibility_timeout_s=60.0, max_receives=5)
    job = encode(
        Job(
            batch_id="bat_1",
            image_id="img_1",
            key="uploads/bat_1/img_1",
            name="cat.jpg",
            tagger="resnet50",
            submitted_at=0.0,
            options=TagOptions(),
        )
    )
    feedback = encode(Feedback(batch_id="bat_1", image_id="img_1", key="k", name="cat.jpg", revision=1))
    kept = [job, feedback, "something that nobody knows"]
    for body in (TEST, *kept):
        queue.send([body])
    for _ in range(4):  # the local queue gives one message at a time
        drop_test_events(queue)
    assert queue.depth().outstanding == len(kept)
    assert {delivery.body for delivery in queue.receive(10, 0)} == set(kept)
