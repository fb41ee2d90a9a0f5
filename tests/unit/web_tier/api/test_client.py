"""Our client against the real service: both understand the API in the same way."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator

import pytest

from config.settings import Settings
from core.fleet.events import FleetEvent
from tagfleet.client import Batch, Client, Conflict, Item, Missing, Refused, TagCount
from tests.unit.web_tier.conftest import Web
from tests.unit.web_tier.processes import served


@pytest.fixture
def cataloged(settings: Settings) -> Settings:
    """One database is enough to test the client."""
    return settings


@pytest.fixture
def client(web: Web) -> Iterator[Client]:
    """A client of a real server over the home and the catalogue of `web`, which acts as workers and collector."""
    with served(web.settings) as server, Client(server.url) as client:
        yield client


def filled(web: Web, client: Client) -> tuple[Batch, list[Item]]:
    """Return a closed batch with three images: two have a tag each, the third failed."""
    batch = client.create_batch(metadata={"album": "Rome"})
    client.upload(batch, [(f"{name}.jpg", io.BytesIO(name.encode())) for name in ("cat", "dog", "broken")])
    web.finish(
        *(
            web.result_of(job, tag=job.name.removesuffix(".jpg"), error="broken" if "broken" in job.name else None)
            for job in web.jobs()
        )
    )
    web.collect()
    batch = client.close(batch)
    return batch, list(client.results(batch))


def test_a_batch_s_whole_life(web, client):
    batch, items = filled(web, client)
    assert (batch.status, batch.total, batch.failed, batch.metadata) == ("completed", 3, 1, {"album": "Rome"})
    assert sorted(items, key=lambda item: item.image_id) == sorted(client.stream(batch), key=lambda item: item.image_id)
    assert [item.name for item in client.results(batch, status="failed")] == ["broken.jpg"]
    assert [item.name for item in client.results(batch, tag="dog", min_confidence=0.4)] == ["dog.jpg"]
    assert client.retry(batch) == 1
    (job,) = web.jobs()
    assert job.name == "broken.jpg"
    client.delete(batch)
    with pytest.raises(Missing):
        client.batch(batch)
    assert list(web.backend.store.list("uploads/")) == []


def test_known_content_needs_no_sending(web, client):
    _, items = filled(web, client)
    batch = client.create_batch()
    again = client.upload(batch, [("another name.jpg", io.BytesIO(b"cat")), ("new.jpg", io.BytesIO(b"new"))])
    assert [(item.name, item.sha256 == items[0].sha256) for item in again] == [
        ("another name.jpg", True),
        ("new.jpg", False),
    ]
    assert [web.backend.store.get(job.key).data for job in web.jobs()] == [b"cat", b"new"]


def test_cancelling_ends_a_batch_and_its_stream(web, client):
    batch = client.create_batch()
    client.upload(batch, [("a.jpg", io.BytesIO(b"a"))])
    batch = client.cancel(batch)
    assert (batch.status, batch.completed, batch.cancelled) == ("cancelled", 1, 1)
    assert [item.status for item in client.stream(batch)] == ["cancelled"]
    with pytest.raises(Conflict):
        client.upload(batch, [("b.jpg", io.BytesIO(b"b"))])


def test_tags_are_edited_undone_judged_and_found(web, client):
    batch, (cat, dog, _) = filled(web, client)
    edit = client.edit_tags(cat, add=["our cat"], remove=["cat"])
    assert [(tag.name, tag.source) for tag in edit.images[0].tags] == [("our cat", "person")]
    assert [item.image_id for item in client.search("our cat")] == [cat.image_id]
    assert TagCount("our cat", 1) in client.tags("our")
    (undone,) = client.undo(edit)
    assert [tag.name for tag in undone.tags] == ["cat"]
    assert client.undo(edit) == [undone], "twice is once"
    both = client.edit_tags_of_many(batch, [cat, dog], add=["Rome"])
    assert {tag.name for item in both.images for tag in item.tags} == {"cat", "dog", "Rome"}
    assert {item.image_id for item in client.search(prefix="ro")} == {cat.image_id, dog.image_id}
    assert {tag.name for item in client.undo(both) for tag in item.tags} == {"cat", "dog"}
    assert [tag.name for tag in client.feedback(dog, "dog", "reject").tags] == []


def test_exports_arrive_whole(web, client):
    batch, items = filled(web, client)
    written = {}
    for format in ("csv", "jsonl", "coco", "xmp"):
        out = io.BytesIO()
        client.export(batch, format, out)
        written[format] = out.getvalue()
    assert all(item.name in written["csv"].decode() for item in items)
    assert len(written["jsonl"].splitlines()) == 3
    assert [image["file_name"] for image in json.loads(written["coco"])["images"]][:2] == ["cat.jpg", "dog.jpg"]
    with zipfile.ZipFile(io.BytesIO(written["xmp"])) as sidecars:
        assert sidecars.testzip() is None
        assert "cat.jpg.xmp" in sidecars.namelist()


def test_keys_are_made_shown_once_and_revoked(web, client):
    made = client.create_key("the camera", ["write"])
    assert made["key"].startswith("tf_")
    (listed,) = client.keys()
    assert "key" not in listed
    client.revoke_key(made["id"])
    assert client.keys()[0]["revoked_at"]


def test_an_operator_sets_the_cap_drains_and_reads_the_changes(web, client):
    assert client.set_cap(3) == {"cap": 3, "cap_source": "operator"}
    assert client.set_cap(None) == {"cap": web.settings.controller.max_workers, "cap_source": "settings"}
    with pytest.raises(Refused, match="max_workers"):
        client.set_cap(-1)
    with pytest.raises(Missing, match="there is no live worker 'w1'; no worker runs"):
        client.drain_worker("w1")
    ready = FleetEvent(at=1.0, kind="ready", pool="p", worker_id="w1", by="itself", reason="1.6 s after its launch")
    web.backend.roster.keep_events((ready,))
    assert client.fleet_changes() == [ready.model_dump()]
