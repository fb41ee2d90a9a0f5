"""`tagfleet up` from its start to its end."""

from __future__ import annotations

import signal

import pytest

from tagfleet.client import Client

pytestmark = pytest.mark.e2e


def test_real_photos_get_the_tags_that_a_person_expects(deployment, client, data):
    expected = {"hot_dog.jpg": "Hotdog", "parrot.jpg": "Macaw"}
    batch = client.create_batch()
    client.upload(batch, [data / "photos" / name for name in expected])
    client.close(batch)
    assert {item.name: item.tags[0].name for item in client.stream(batch)} == expected


def test_workers_come_with_the_work_and_go_when_it_is_done(deploy, until, make_photos):
    deployment = deploy(TAGFLEET_CONTROLLER__IDLE_KEEP_S="3", TAGFLEET_CONTROLLER__STABILISATION_S="0.3")
    assert deployment.find("worker") == []
    [(name, content)] = make_photos(1)
    (deployment.home.parent / name.rpartition("/")[2]).write_bytes(content)
    with Client(deployment.url) as client:
        batch = client.create_batch()
        client.upload(batch, [deployment.home.parent / name.rpartition("/")[2]])
        client.close(batch)
        assert [item.status for item in client.stream(batch)] == ["succeeded"]
    until(lambda: deployment.find("worker") == [])
    until(lambda: "stopped: it has finished what it held" in deployment.said)
    until(lambda: f"batch {batch.id}: 1 of 1 tagged" in deployment.said)


def test_ctrl_c_leaves_nothing_and_a_restart_finds_everything(
    deployment, client, upload, make_photos, until, assert_each_once
):
    photos = make_photos(80)
    finished, batch = client.create_batch(), client.create_batch()
    upload(finished, photos[:3])
    client.close(finished)
    before = sorted(item.name for item in client.stream(finished))
    upload(batch, photos)
    client.close(batch)
    until(lambda: client.batch(batch).completed)
    assert deployment.stop() == 0, deployment.said
    assert deployment.processes() == []
    assert "stopped; a new start goes on where this one ended" in deployment.said
    deployment.start()
    assert sorted(item.name for item in client.results(finished)) == before
    for _ in client.stream(batch):
        pass
    assert_each_once(deployment, batch.id, [name for name, _ in photos])


def test_parts_that_do_not_listen_are_killed_in_time(deployment, client, upload, make_photos, until):
    batch = client.create_batch()
    upload(batch, make_photos(40))
    until(lambda: deployment.find("worker"))
    deployment.freeze()
    assert deployment.stop(signal.SIGTERM) == 0
    assert deployment.processes() == []


def test_a_second_ctrl_c_kills_at_once(deployment, client, upload, make_photos, until):
    upload(client.create_batch(), make_photos(40))
    until(lambda: deployment.find("worker"))
    deployment.freeze()

    def ended() -> bool:
        """Press Ctrl-C again, as impatient people do, until it has ended."""
        deployment.up.send_signal(signal.SIGINT)
        return deployment.up.poll() is not None

    until(ended)
    assert deployment.up.returncode == 0, deployment.said
    assert "killed everything at once" in deployment.said
    assert deployment.processes() == []


def test_one_up_for_each_home_and_each_port(deployment, deploy):
    second = deployment.run("up")
    assert second.wait(120) == 1
    assert (
        f"`tagfleet up` runs already for {deployment.home}: process {deployment.up.pid}, {deployment.url}"
        in (second.communicate()[1])
    )
    third = deployment.run("up", "--home", deployment.home.with_name("another"))
    _, said = third.communicate(timeout=300)
    assert third.returncode == 1
    assert "is taken by another program" in said
    fourth = deployment.run("up", "--host", "0.0.0.0")
    _, said = fourth.communicate(timeout=300)
    assert fourth.returncode == 2
    assert said.startswith("tagfleet: setting host: 0.0.0.0 with these settings is open to other machines")
    assert len(said.splitlines()) == 1


def test_status_of_a_running_and_of_a_stopped_deployment(deployment, until):
    until(lambda: [pool.state for pool in deployment.backend.roster.pools()] == ["ready"])
    running, _ = deployment.run("status").communicate(timeout=300)
    assert f"{deployment.url}: no batches in progress" in running
    assert "pool resnet50: ready, serves efficientnet-lite0" in running
    assert deployment.stop() == 0
    stopped, _ = deployment.run("status").communicate(timeout=300)
    assert "The web tier does not answer" in stopped
    assert "pool resnet50: ready, serves efficientnet-lite0" in stopped
    assert max(map(len, (running + stopped).splitlines())) < 80
