from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result

from config import settings as config
from core.domain.messages import Job, encode
from core.storage.ports import Queue
from core.wiring import Backend
from tagfleet.cli.dead_letters import command


@pytest.fixture
def environment(tmp_path) -> dict[str, str]:
    return {"TAGFLEET_HOME": str(tmp_path), "TAGFLEET_QUEUE__MAX_RECEIVES": "2"}


@pytest.fixture
def queue(environment) -> Queue:
    return Backend(config.load(environment)).jobs("resnet50")


@pytest.fixture
def run(environment) -> Callable[..., Result]:
    return lambda *arguments: CliRunner(env=environment).invoke(command, arguments)


def bury(queue: Queue, *bodies: str) -> None:
    queue.send(bodies)
    for _ in range(2):
        queue.set_visibility(queue.receive(len(bodies), 0), 0)


def job(name: str) -> str:
    return encode(Job(batch_id="bat_1", image_id="img_1", key="k", name=name, tagger="resnet50", submitted_at=0))


def test_none(run):
    result = run("list")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "no dead letters\n")


def test_listing_leaves_them_where_they_are(run, queue):
    bury(queue, job("holiday/b.jpg"), job("line\nbreak.jpg"), "no message")
    for _ in range(3):
        lines = run("list").stdout.splitlines()
        assert [line.rpartition(" times  ")[2] for line in lines] == [
            "bat_1  holiday/b.jpg",
            "bat_1  line\N{REPLACEMENT CHARACTER}break.jpg",
            "not a Job message: body: Invalid JSON: expected ident at line 1 column 2",
        ]
        assert {line.partition(" received ")[2][:1] for line in lines} == {"2"}, "looking is no delivery"
    assert queue.depth().dead == 3
    limited = run("list", "--limit", "1")
    assert len(limited.stdout.splitlines()) == 1
    command = "tagfleet dead-letters list --pool resnet50 --limit 1 --after "
    assert limited.stderr.startswith(f"resnet50  and more: {command}")


def test_listing_goes_on_as_the_last_line_says(run, queue):
    bury(queue, *(job(f"{number}.jpg") for number in range(5)))
    names, more = [], "tagfleet dead-letters list --limit 2"
    while more:
        page = run(*more.partition("dead-letters ")[2].split())
        names += [line.rpartition("  ")[2] for line in page.stdout.splitlines()]
        more = page.stderr
    assert names == [f"{number}.jpg" for number in range(5)]
    assert run("list", "--after", "999").stderr == "no dead letters behind 999\n"


def test_a_notification_is_shown_as_its_file(run, queue):
    s3 = {"bucket": {"name": "input"}, "object": {"key": "images/my+trip/a.jpg", "eTag": "e"}}
    at = {"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "eventTime": "2026-01-01T00:00:00Z"}
    bury(queue, json.dumps({"Records": [at | {"s3": s3}]}), json.dumps({"Records": []}))
    file, nothing = run("list").stdout.splitlines()
    assert file.endswith("  a.jpg")
    assert nothing.endswith("a bucket's notification of no file")


def test_redrive_sends_them_back(run, queue):
    bury(queue, *(job(f"{number}.jpg") for number in range(5)))
    assert run("redrive", "--limit", "2").stdout == "resnet50: 2 of 5 dead letters sent back\n"
    assert (queue.depth().visible, queue.depth().dead) == (2, 3)
    assert run("redrive", "--pool", "resnet50").stdout == "resnet50: 3 of 3 dead letters sent back\n"
    assert (queue.depth().visible, queue.depth().dead) == (5, 0)


def test_a_pool_that_is_none(run):
    result = run("list", "--pool", "nothing")
    assert str(result.exception) == "--pool: there is no pool 'nothing'; there are resnet50"
