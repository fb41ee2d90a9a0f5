from __future__ import annotations

import io
import socket
from pathlib import Path
from typing import Any

import pytest

from tagfleet.client import (
    BadAnswer,
    Batch,
    Client,
    ClientError,
    Conflict,
    Item,
    Missing,
    Patience,
    Refused,
    Unreachable,
    UnreadableFile,
)
from tagfleet.testing import Deployment

BROKEN = {"breaks_next": {}}
BUSY = {"answers_next": {"status": 503}}


def plan(service: Deployment, path: str, *faults: dict[str, dict[str, Any]]) -> None:
    """The next requests of `path` meet these faults."""
    for fault in faults:
        ((name, options),) = fault.items()
        getattr(service.faults, name)(path, **options)


def photos(folder: Path, count: int, size: int = 1000) -> list[Path]:
    paths = [folder / f"{number:03}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(number.to_bytes(4, "big") * (size // 4))
    return paths


def test_a_batch_from_its_making_to_its_tags(service, client, tmp_path):
    batch = client.create_batch("resnet50", top_k=3, metadata={"trip": "Rome"})
    assert {name: value for name, value in batch.options.items() if value} == {"top_k": 3}
    assert batch.metadata == {"trip": "Rome"}
    items = client.upload(batch, photos(tmp_path, 50))
    assert [item.name for item in items] == [f"{number:03}.jpg" for number in range(50)]
    client.close(batch)
    assert {item.name: [tag.name for tag in item.tags] for item in client.stream(batch)} == {
        item.name: ["dog"] for item in items
    }
    assert client.batch(batch.id).status == "completed"
    followed = {event.name: event for event in client.events(batch) if isinstance(event, Item)}
    assert {item.name: item for item in client.results(batch)} == followed


def test_the_bytes_arrive_as_they_were(service, client, tmp_path):
    large = bytes(range(256)) * 4096 * 3  # several pieces, and not a multiple of one
    contents = {"one.jpg": b"\r", "large.jpg": large + b"\r\n--", "edge.jpg": bytes(256 * 1024)}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "empty.jpg").touch()
    *items, empty = client.upload(client.create_batch(), [tmp_path / name for name in [*contents, "empty.jpg"]])
    assert {item.name: service.content_of(item) for item in items} == contents
    assert (empty.bytes, empty.error) == (0, "empty.jpg: the file is empty")


@pytest.mark.parametrize(
    "name", ["holiday/b.jpg", 'a "quoted" one.jpg', "ключ.jpg", "🐕 dog.jpg", "semi;colon=1.jpg", "x" * 300]
)
def test_names_arrive_as_they_were(client, name):
    batch = client.create_batch()
    assert [item.name for item in client.upload(batch, [(name, io.BytesIO(b"bytes"))])] == [name]
    client.close(batch)
    assert [item.name for item in client.stream(batch)] == [name]


def test_what_is_no_text_is_replaced_by_the_service(client):
    (item,) = client.upload(client.create_batch(), [("🐕 \u2028 dog.jpg", io.BytesIO(b"bytes"))])
    assert item.name == "🐕 \N{REPLACEMENT CHARACTER} dog.jpg"


def test_open_files_are_sent_from_where_they_stand(service, client):
    file = io.BytesIO(b"headbody")
    file.seek(4)
    [item] = client.upload(client.create_batch(), [("f.jpg", file)])
    assert service.content_of(item) == b"body"


def test_an_open_file_that_could_not_be_sent_is_sent_whole_by_the_next_call(service, client):
    file = io.BytesIO(b"headbody")
    file.seek(4)
    batch = client.create_batch()
    plan(service, "/images", BUSY)
    with Client(service.url, patience=Patience(total_s=0)) as impatient, pytest.raises(Refused):
        impatient.upload(batch, [("f.jpg", file)])
    [item] = client.upload(batch, [("f.jpg", file)])
    assert service.content_of(item) == b"body"


def test_files_travel_in_groups(service, client, tmp_path):
    small = photos(tmp_path, 41)
    client.upload(client.create_batch(), small)
    assert sorted(map(len, service.faults.uploads())) == [1, 20, 20]


def test_large_files_end_a_group(service, client, tmp_path):
    client.upload(client.create_batch(), photos(tmp_path, 5, size=3 * 1024 * 1024))
    assert sorted(map(len, service.faults.uploads())) == [1, 2, 2]


@pytest.mark.parametrize("fault", [BROKEN, BUSY])
def test_a_call_that_failed_is_made_again_with_the_same_effect(service, client, tmp_path, fault):
    plan(service, "/batches", fault, fault)
    plan(service, "/images", fault)
    batch = client.create_batch()
    plan(service, "/close", fault)
    client.upload(batch, photos(tmp_path, 3))
    client.close(batch)
    assert [batch.id for batch in client.batches()] == [batch.id]
    assert len(list(client.results(batch))) == 3


def test_an_answer_that_was_lost_makes_no_second_batch(service, client):
    service.faults.breaks_next("/batches", carried_out=True)
    client.create_batch()
    assert service.faults.count("/batches") == 2
    assert len(list(client.batches())) == 1


def test_patience_ends(service, client):
    client.create_batch()
    service.faults.answers_next("/batches", 503, times=None)
    impatient = Client(service.url, patience=Patience(total_s=0.05, first_s=0.001))
    with impatient, pytest.raises(Refused) as refused:
        impatient.create_batch()
    assert refused.value.status == 503


def test_nobody_there_is_said_at_once():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen: nobody else can take the port and answer
        with (
            Client(f"http://127.0.0.1:{taken.getsockname()[1]}") as client,
            pytest.raises(Unreachable, match=r"no Tagfleet at http://127.0.0.1:\d+: start it with `tagfleet up`"),
        ):
            client.create_batch()


@pytest.mark.parametrize("url", ["localhost:8000", "http://", "http://host:port", "ftp://host", ""])
def test_an_address_that_is_none(url):
    with pytest.raises(ClientError, match="is not the address of a Tagfleet"):
        Client(url)


def test_errors_are_the_services_sentences(service, client, tmp_path):
    with pytest.raises(Missing, match=r"Not Found: there is no batch 'bat_nothing' \(HTTP 404, request req_\w+\)"):
        client.batch("bat_nothing")
    batch = client.create_batch()
    client.close(batch)
    with pytest.raises(Conflict, match="is closed"):
        client.upload(batch, photos(tmp_path, 1))


def test_something_else_lives_at_the_address(service, client):
    service.faults.answers_next("/batches", 200, body=b"hi", headers={"Content-Type": "text/html"})
    with pytest.raises(BadAnswer, match="text/html"):
        client.create_batch()


def test_a_file_that_cannot_be_read_costs_only_itself(service, client, tmp_path):
    paths = photos(tmp_path, 3)
    paths.insert(1, tmp_path / "gone.jpg")
    paths.insert(2, tmp_path)
    unreadable: list[UnreadableFile] = []
    batch = client.create_batch()
    items = client.upload(batch, paths, unreadable=unreadable.append)
    assert [item.name for item in items] == ["000.jpg", "001.jpg", "002.jpg"]
    assert [str(error) for error in unreadable] == [
        "gone.jpg: cannot be read: No such file or directory",
        f"{tmp_path.name}: cannot be read: Is a directory",
    ]
    with pytest.raises(UnreadableFile):
        client.upload(batch, paths)


def test_a_broken_stream_goes_on_where_it_broke(service, client, tmp_path):
    batch = client.create_batch()
    client.upload(batch, photos(tmp_path, 10))
    client.close(batch)
    service.step()
    for events in (4, 0, 3):
        service.faults.breaks_next("/events", events=events)
    assert [item.name for item in client.stream(batch)] == [f"{number:03}.jpg" for number in range(10)]
    opened = [one for one in service.faults.requests if one.path.endswith("/events")]
    first, *later = [one.headers.get("Last-Event-Id") for one in opened]
    assert first is None
    assert later[0] == later[1] != later[2]
    assert int(later[2]) == int(later[1]) + 3


def test_a_busy_stream_is_asked_for_again(service, client):
    batch = client.close(client.create_batch())
    plan(service, "/events", BUSY, BROKEN)
    told = [event for event in client.events(batch) if isinstance(event, Batch)]
    assert [(event.id, event.status) for event in told] == [(batch.id, "completed")] * 2


def test_a_stream_of_nothing(client):
    with pytest.raises(Missing):
        list(client.stream("bat_nothing"))


def test_lists_are_paged(service, client, tmp_path):
    batches = [client.create_batch() for _ in range(5)]
    page = service.http().get("/api/v1/batches?limit=2").json
    service.faults.answers_next("/batches", 200, json=page)
    assert [batch.id for batch in client.batches()] == [batch.id for batch in reversed(batches)]
    assert service.faults.requests[-1].query == f"limit=100&cursor={page['next_cursor']}"
    assert [batch.id for batch in client.batches(limit=3)] == [batch.id for batch in batches[:1:-1]]
    names = [(f"{number}.jpg", io.BytesIO(str(number).encode())) for number in range(501)]
    items = client.upload(batches[0], names)
    assert sorted(item.name for item in client.results(batches[0])) == sorted(item.name for item in items)
    assert service.faults.count("/results") == 2
