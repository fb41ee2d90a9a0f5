from __future__ import annotations

import io
import socket
from http.server import BaseHTTPRequestHandler
from pathlib import Path

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


def broken(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)


def busy(handler: BaseHTTPRequestHandler) -> None:
    handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
    handler.send_response(503)
    handler.send_header("Retry-After", "0")
    handler.send_header("Content-Length", "0")
    handler.end_headers()


def a_web_page(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "text/html")
    handler.send_header("Content-Length", "2")
    handler.end_headers()
    handler.wfile.write(b"hi")


def photos(folder: Path, count: int, size: int = 1000) -> list[Path]:
    paths = [folder / f"{number:03}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(number.to_bytes(4, "big") * (size // 4))
    return paths


def test_a_batch_from_its_making_to_its_tags(service, client, tmp_path):
    batch = client.create_batch("resnet50", top_k=3, metadata={"trip": "Rome"})
    assert batch.options == {"top_k": 3}
    assert batch.metadata == {"trip": "Rome"}
    items = client.upload(batch, photos(tmp_path, 50))
    assert [item.name for item in items] == [f"{number:03}.jpg" for number in range(50)]
    assert client.close(batch).status == "completed"
    assert {item.name: [tag.name for tag in item.tags] for item in client.stream(batch)} == {
        item.name: ["dog"] for item in items
    }
    assert list(client.results(batch)) == [event for event in client.events(batch) if isinstance(event, Item)]


def test_the_bytes_arrive_as_they_were(service, client, tmp_path):
    large = bytes(range(256)) * 4096 * 3  # several pieces, and not a multiple of one
    contents = {"empty.jpg": b"", "one.jpg": b"\r", "large.jpg": large + b"\r\n--", "edge.jpg": bytes(256 * 1024)}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    items = client.upload(client.create_batch(), [tmp_path / name for name in contents])
    assert {item.name: service.bodies[item.image_id] for item in items} == contents


@pytest.mark.parametrize(
    "name", ["holiday/b.jpg", 'a "quoted" one.jpg', "ключ.jpg", "🐕 \u2028 dog.jpg", "semi;colon=1.jpg", "x" * 300]
)
def test_names_arrive_as_they_were(client, name):
    batch = client.create_batch()
    assert [item.name for item in client.upload(batch, [(name, io.BytesIO(b"bytes"))])] == [name]
    client.close(batch)
    assert [item.name for item in client.stream(batch)] == [name]


def test_open_files_are_sent_from_where_they_stand(service, client):
    file = io.BytesIO(b"headbody")
    file.seek(4)
    [item] = client.upload(client.create_batch(), [("f.jpg", file)])
    assert service.bodies[item.image_id] == b"body"


def test_an_open_file_that_could_not_be_sent_is_sent_whole_by_the_next_call(service, client):
    file = io.BytesIO(b"headbody")
    file.seek(4)
    batch = client.create_batch()
    service.plan("/images", busy)
    with Client(service.url, patience=Patience(total_s=0)) as impatient, pytest.raises(Refused):
        impatient.upload(batch, [("f.jpg", file)])
    [item] = client.upload(batch, [("f.jpg", file)])
    assert service.bodies[item.image_id] == b"body"


def test_files_travel_in_groups(service, client, tmp_path):
    small = photos(tmp_path, 41)
    client.upload(client.create_batch(), small)
    assert sorted(map(len, service.received)) == [1, 20, 20]


def test_large_files_end_a_group(service, client, tmp_path):
    client.upload(client.create_batch(), photos(tmp_path, 5, size=3 * 1024 * 1024))
    assert sorted(map(len, service.received)) == [1, 2, 2]


@pytest.mark.parametrize("fault", [broken, busy])
def test_a_call_that_failed_is_made_again_with_the_same_effect(service, client, tmp_path, fault):
    service.plan("/batches", fault, fault)
    service.plan("/images", fault)
    batch = client.create_batch()
    service.plan("/close", fault)
    client.upload(batch, photos(tmp_path, 3))
    client.close(batch)
    assert [batch.id for batch in client.batches()] == [batch.id]
    assert len(service.items[batch.id]) == 3


def test_an_answer_that_was_lost_makes_no_second_batch(service, client):
    def answered_then_broken(handler):
        handler.json = lambda *_: None
        handler._create()
        broken(handler)

    service.plan("/batches", answered_then_broken)
    client.create_batch()
    assert service.count("/batches") == 2
    assert len(service.batches) == 1


def test_patience_ends(service, client):
    client.create_batch()
    service.plan("/batches", *[busy] * 5000)
    impatient = Client(service.url, patience=client._transport.patience.__class__(total_s=0.05, first_s=0.001))
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
    with pytest.raises(Missing, match=r"Not Found: there is no such batch \(HTTP 404, request req_1\)"):
        client.batch("bat_nothing")
    batch = client.create_batch()
    client.close(batch)
    with pytest.raises(Conflict, match="is closed"):
        client.upload(batch, photos(tmp_path, 1))


def test_something_else_lives_at_the_address(service, client):
    service.plan("/batches", a_web_page)
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
    service.cut_streams_after.extend([4, 0, 3])
    assert [item.name for item in client.stream(batch)] == [f"{number:03}.jpg" for number in range(10)]
    assert service.last_event_ids == [None, "4", "4", "7"]


def test_a_busy_stream_is_asked_for_again(service, client):
    batch = client.close(client.create_batch())
    service.plan("/events", busy, broken)
    assert [event.id for event in client.events(batch) if isinstance(event, Batch)] == [batch.id]


def test_a_stream_of_nothing(client):
    with pytest.raises(Missing):
        list(client.stream("bat_nothing"))


def test_lists_are_paged(service, client, tmp_path):
    batches = [client.create_batch() for _ in range(5)]
    assert [batch.id for batch in client.batches()] == [batch.id for batch in reversed(batches)]
    assert [batch.id for batch in client.batches(limit=3)] == [batch.id for batch in batches[:1:-1]]
    names = [(f"{number}.jpg", io.BytesIO(str(number).encode())) for number in range(501)]
    items = client.upload(batches[0], names)
    assert sorted(item.name for item in client.results(batches[0])) == sorted(item.name for item in items)
    assert service.count("/results") == 2
