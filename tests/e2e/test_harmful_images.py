"""Images that hang or crash a real worker's decoder, with photos queued behind them."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from io import BytesIO

import pytest

from bench.chaos.traps import CRASHES, HANGS, marked, trapped
from core.domain.messages import decode_job
from tagfleet.client import Client, Patience

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("mark", [HANGS, CRASHES], ids=["hang", "crash"])
def test_photos_behind_them_are_tagged_by_their_second_delivery(deploy, make_photos, until, mark):
    """No photo is isolated because of other images, none is lost, and few workers end."""
    # A tenth of it is a photo's time in a child: on a busy machine a short one makes suspects of photos.
    timeout_s = {HANGS: "5", CRASHES: "60"}[mark]
    deployment = deploy(**trapped({}), TAGFLEET_WORKER__DECODE_TIMEOUT_S=timeout_s, TAGFLEET_LOG_FORMAT="json")
    bad, good = make_photos(10), make_photos(20, first=10)
    files = [(f"bad/{name}", marked(content, mark)) for name, content in bad] + good
    with Client(deployment.url, patience=Patience(total_s=180.0)) as client:
        batch = client.create_batch()
        client.upload(batch, [(name, BytesIO(content)) for name, content in files])
        client.close(batch)
        deliveries = _most_deliveries(deployment, until, lambda: client.batch(batch).status == "completed")
        items = {item.name: item for item in client.results(batch)}
    assert {items[name].status for name, _ in good} == {"succeeded"}
    assert all("decoding it" in items[f"bad/{name}"].error for name, _ in bad)
    assert deployment.backend.jobs("resnet50").depth().dead == 0
    assert max(deliveries[items[name].image_id] for name, _ in good) <= 2
    logs = [path.read_text() for path in (deployment.home / "logs").glob("worker-*.log")]
    alone = [line for log in logs for line in log.splitlines() if "decoded alone" in line]
    assert not any(items[name].image_id in line for name, _ in good for line in alone)
    assert len(logs) <= 6


def _most_deliveries(deployment, until, done):
    """Watch until `done`; return the most deliveries seen of each image's message, by image."""
    most = defaultdict(int)
    watched = sqlite3.connect(f"file:{deployment.home / 'queues.db'}?mode=ro", uri=True)

    def look():
        for body, count in watched.execute("SELECT body, receive_count FROM messages WHERE queue = 'resnet50'"):
            image_id = decode_job(body).image_id
            most[image_id] = max(most[image_id], count)
        return done()

    until(look)
    watched.close()
    return most
