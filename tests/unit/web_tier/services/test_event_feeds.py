"""Event streams: every changed image once, across any number of breaks."""

from __future__ import annotations

import json
from itertools import islice

from web_tier.api.events import batch_events, follow
from web_tier.app import create_app


def read(text: str) -> list[tuple[str, int | None, dict]]:
    """Events of a stream: kind, id, data."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "event" in fields:
            id_ = int(fields["id"]) if "id" in fields else None
            found.append((fields["event"], id_, json.loads(fields["data"])))
    return found


def completed(web, count: int) -> tuple[str, list]:
    batch = web.batch()
    web.upload(batch, *((f"{number}.jpg", b"%d" % number) for number in range(count)))
    jobs = web.jobs()
    web.finish(*map(web.result_of, jobs))
    web.collect()
    web.close(batch)
    return batch, jobs


def test_a_finished_batch_is_told_from_its_beginning_to_its_end(web):
    batch, jobs = completed(web, 450)
    answer = web.client.get(f"/api/v1/batches/{batch}/events")
    assert answer.mimetype == "text/event-stream"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Accel-Buffering"] == "no"
    events = read(answer.text)
    assert [kind for kind, *_ in events] == ["item"] * 450 + ["batch", "completed"]
    assert {data["image_id"] for kind, _, data in events if kind == "item"} == {job.image_id for job in jobs}
    ids = [id_ for kind, id_, _ in events if kind == "item"]
    assert ids == sorted(set(ids))
    assert events[-1][2]["request_counts"]["completed"] == 450


def test_a_stream_resumes_after_the_last_event_that_was_seen(web):
    batch, _ = completed(web, 10)
    events = read(web.client.get(f"/api/v1/batches/{batch}/events").text)
    for seen in range(10):
        last = str(events[seen][1])
        rest = read(web.client.get(f"/api/v1/batches/{batch}/events", headers={"Last-Event-ID": last}).text)
        assert rest == events[seen + 1 :]
        assert read(web.client.get(f"/api/v1/batches/{batch}/events?last_event_id={last}").text) == rest


def test_a_reader_who_only_counts_gets_no_images(web):
    batch, _ = completed(web, 3)
    events = read(web.client.get(f"/api/v1/batches/{batch}/events?items=false").text)
    assert [kind for kind, *_ in events] == ["batch", "completed"]
    assert events[0][2]["request_counts"]["completed"] == 3


def test_an_id_that_is_none_starts_from_the_beginning(web):
    batch, _ = completed(web, 2)
    for id_ in ("", "x", "-1", "1e5", "9" * 40):
        answer = web.client.get(f"/api/v1/batches/{batch}/events", headers={"Last-Event-ID": id_})
        assert len(read(answer.text)) == 4


class Reader:
    """A stream that is read while things happen; `pause` is where it waits for the next look."""

    def __init__(self, web, batch: str, after: int = 0) -> None:
        self.now = 0.0
        own = web.client.application.extensions["tagfleet"]
        self.stream = follow(batch_events(own, batch, after, clock=lambda: self.now), pause=self._pause)
        assert next(self.stream) == b"retry: 1000\n\n"

    def _pause(self, seconds: float) -> None:
        self.now += seconds

    def next(self, count: int) -> list[tuple[str, int | None, dict]]:
        return read(b"".join(islice(self.stream, count)).decode())


def test_changes_are_told_as_they_come_and_only_once(web):
    batch = web.batch()
    reader = Reader(web, batch)
    ((kind, id_, state),) = reader.next(1)
    assert (kind, id_, state["status"]) == ("batch", None, "open")

    web.upload(batch, ("a.jpg", b"one"), ("b.jpg", b"two"))
    told = reader.next(2)
    assert [(kind, id_, data.get("status")) for kind, id_, data in told[:2]] == [
        ("item", 1, "queued"),
        ("item", 2, "queued"),
    ]
    first, second = web.jobs()
    web.finish(web.result_of(second))
    web.collect()
    ((_, id_, data), (_, _, state)) = reader.next(2)
    assert (id_, data["name"], data["status"]) == (3, "b.jpg", "succeeded")
    assert state["request_counts"]["completed"] == 1

    web.close(batch)
    web.finish(web.result_of(first, error="broken"))
    web.collect()
    assert [kind for kind, *_ in reader.next(3)] == ["item", "batch", "completed"]
    assert list(reader.stream) == []


def test_a_quiet_stream_pings(web):
    reader = Reader(web, web.batch())
    reader.next(1)
    assert next(reader.stream) == b": ping\n\n"
    assert reader.now >= 15


def test_a_stream_of_a_deleted_batch_ends(web):
    batch = web.batch()
    reader = Reader(web, batch)
    reader.next(1)
    assert web.client.delete(f"/api/v1/batches/{batch}").status_code == 204
    assert list(reader.stream) == []


def test_a_cancelled_batch_ends_its_stream(web):
    batch = web.batch()
    web.upload(batch, ("a.jpg", b"one"))
    reader = Reader(web, batch)
    reader.next(2)
    web.client.post(f"/api/v1/batches/{batch}/cancel")
    told = read(b"".join(reader.stream).decode())
    assert [(kind, data["status"]) for kind, _, data in told] == [
        ("item", "cancelled"),
        ("batch", "cancelled"),
        ("completed", "cancelled"),
    ]


def test_readers_who_begin_at_different_times_hear_the_same(web):
    """They share what is read, and each gets what it has not seen, once and in order."""
    batch = web.batch()
    readers, heard = [], []
    for number in range(4):
        readers.append(Reader(web, batch))
        heard.append([])
        web.upload(batch, *((f"{number}-{each}.jpg", b"%d" % each) for each in range(150)))
        for reader, got in zip(readers, heard, strict=True):
            reader.now = readers[0].now = max(reader.now, readers[0].now) + 1  # in a process they share one clock
            while len({id for kind, id, _ in got if kind == "item"}) < 150 * (number + 1):
                got += reader.next(1)
    for got in heard:
        ids = [id for kind, id, _ in got if kind == "item"]
        assert ids == list(range(1, 601))
    for reader in readers:
        reader.stream.close()


def test_only_so_many_streams_are_open_at_once(settings, web):
    """The setting web.streams says how many; a closed one makes room."""
    app = create_app(
        web.backend,
        web.settings.model_copy(update={"web": web.settings.web.model_copy(update={"streams": 3})}),
        web.clock,
    )
    client = app.test_client()
    batch = web.batch()
    answers = [client.get(f"/api/v1/batches/{batch}/events", buffered=False) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3
    refused = client.get(f"/api/v1/batches/{batch}/events", buffered=False)
    assert refused.status_code == 503
    assert refused.headers["Retry-After"]
    answers.pop().close()
    answers.append(client.get(f"/api/v1/batches/{batch}/events", buffered=False))
    assert answers[-1].status_code == 200
    for answer in answers:
        answer.close()
    app.extensions["tagfleet"].database.close()
