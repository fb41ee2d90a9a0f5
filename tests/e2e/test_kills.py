"""Kill each process with SIGKILL during a batch: every image still gets exactly one result."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.e2e


def test_a_worker(deployment, client, upload, make_photos, until, assert_each_once):
    jobs = deployment.backend.jobs("resnet50")
    batch, names = client.create_batch(), []
    while not jobs.depth().in_flight:  # until a worker is killed while it holds messages
        photos = make_photos(60, first=len(names))
        names += [name for name, _ in photos]
        upload(batch, photos)
        until(lambda: jobs.depth().in_flight or not jobs.depth().outstanding)
        for worker in deployment.find("worker"):
            worker.kill()
            until(lambda worker=worker: worker not in deployment.processes())
    client.close(batch)
    for _ in client.stream(batch):
        pass
    assert_each_once(deployment, batch.id, names)


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
        until(lambda: {part.pid for part in deployment.find(victim)} - {process.pid})


def test_up_itself(deployment, client, upload, make_photos, until, assert_each_once):
    photos = make_photos(60)
    batch = client.create_batch()
    upload(batch, photos)
    until(lambda: deployment.find("worker"))
    deployment.up.kill()
    deployment.up.wait()
    until(lambda: {process.role for process in deployment.processes()} <= {"worker"})
    deployment.start()
    client.close(batch)
    for _ in client.stream(batch):
        pass
    assert_each_once(deployment, batch.id, [name for name, _ in photos])
