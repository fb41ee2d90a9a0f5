"""The JSON logs of all processes carry the ids by which an image can be followed."""

from __future__ import annotations

import io
import json

import pytest

pytestmark = pytest.mark.e2e

CANNOT = "an image cannot be tagged"


@pytest.fixture
def deployment(deploy):
    return deploy(TAGFLEET_LOG_FORMAT="json")


def lines(log):
    """Return the complete lines of a log that is still being written."""
    return [json.loads(line) for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]


def test_a_failed_image_is_found_by_its_ids(deployment, client, until):
    batch = client.create_batch()
    [item] = client.upload(batch, [("holiday.jpg", io.BytesIO(b"no picture at all"))])
    client.close(batch)
    for _ in client.stream(batch):
        pass
    logs = {log.stem.removeprefix("worker-"): lines(log) for log in (deployment.home / "logs").glob("worker-*.log")}
    told = [(worker, line) for worker, said in logs.items() for line in said if line["event"] == CANNOT]
    assert told
    for worker, line in told:
        assert (line["batch"], line["image"], line["worker"]) == (batch.id, item.image_id, worker)
        assert (line["process"], line["level"]) == ("worker", "info")
    assert "holiday" not in json.dumps(logs), "names of people's files are no business of the log"

    def the_last_decision_is_logged() -> bool:
        [decision] = deployment.backend.roster.decisions()
        said = lines(deployment.home / "logs" / "controller.log")
        return decision.id in [line.get("decision") for line in said if line.get("pool") == "resnet50"]

    until(the_last_decision_is_logged)
