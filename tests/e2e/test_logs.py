"""What the processes log as JSON names the ids by which an event is followed through all of them."""

from __future__ import annotations

import io
import json

import pytest

pytestmark = pytest.mark.e2e


@pytest.fixture
def deployment(deploy):
    return deploy(TAGFLEET_LOG_FORMAT="json")


def test_a_failed_image_is_found_by_its_ids(deployment, client):
    batch = client.create_batch()
    [item] = client.upload(batch, [("holiday.jpg", io.BytesIO(b"no picture at all"))])
    client.close(batch)
    for _ in client.stream(batch):
        pass
    [log] = (deployment.home / "logs").glob("worker-*.log")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    [line] = [line for line in lines if line["event"] == "an image cannot be tagged"]
    assert (line["batch"], line["image"]) == (batch.id, item.image_id)
    assert line["worker"] == log.stem.removeprefix("worker-")
    assert (line["process"], line["level"]) == ("worker", "info")
    assert "holiday" not in json.dumps(lines), "names of people's files are no business of the log"
    [decision] = deployment.backend.roster.decisions()
    said = [json.loads(line) for line in (deployment.home / "logs" / "controller.log").read_text().splitlines()]
    assert decision.id in [line.get("decision") for line in said if line.get("pool") == "resnet50"]
