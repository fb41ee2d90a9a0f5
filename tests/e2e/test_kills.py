"""kill -9 of each part in the middle of a batch: every image still gets exactly one result."""

from __future__ import annotations

import signal

import pytest

pytestmark = pytest.mark.e2e


def _catch_a_busy_worker(deployment, until):
    """A worker that stands still with messages in hand."""
    caught = []

    def holds_some() -> bool:
        for worker in deployment.find("worker"):
            worker.kill(signal.SIGSTOP)
            if deployment.backend.jobs("resnet50").depth().in_flight:
                caught.append(worker)
                return True
            worker.kill(signal.SIGCONT)
        return False

    until(holds_some)
    return caught[0]


def test_a_worker(deployment, client, upload, make_photos, until, assert_each_once):
    photos = make_photos(80)
    batch = client.create_batch()
    upload(batch, photos)
    client.close(batch)
    _catch_a_busy_worker(deployment, until).kill()
    assert client.batch(batch).completed < 80
    for _ in client.stream(batch):
        pass
    assert_each_once(deployment, batch.id, [name for name, _ in photos])


@pytest.mark.parametrize(
    "victim", ["controller", "collector", "web", "the web tier's worker"], ids=lambda name: name.replace(" ", "-")
)
def test_a_part_that_up_starts_again(deployment, client, upload, make_photos, until, assert_each_once, victim):
    photos = make_photos(60)
    batch = client.create_batch()
    upload(batch, photos[:30])
    until(lambda: client.batch(batch).completed)
    process = deployment.the_web_worker() if victim == "the web tier's worker" else deployment.child(victim)
    process.kill()
    upload(batch, photos[30:])
    client.close(batch)
    for _ in client.stream(batch):
        pass
    assert_each_once(deployment, batch.id, [name for name, _ in photos])
    if victim in ("controller", "collector", "web"):
        until(lambda: f"{victim} was killed by SIGKILL; it is started again in 0.5 s" in deployment.said)
        until(lambda: deployment.child(victim).pid != process.pid)


def test_up_itself(deployment, client, upload, make_photos, until, assert_each_once):
    photos = make_photos(80)
    batch = client.create_batch()
    upload(batch, photos)
    worker = _catch_a_busy_worker(deployment, until)
    deployment.up.kill()
    deployment.up.wait()
    until(lambda: {process.role for process in deployment.processes()} == {"worker"})
    worker.kill(signal.SIGCONT)
    deployment.start()
    client.close(batch)
    for _ in client.stream(batch):
        pass
    assert_each_once(deployment, batch.id, [name for name, _ in photos])
