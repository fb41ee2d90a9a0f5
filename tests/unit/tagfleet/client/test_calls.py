"""What each call of the client sends, and how it reads the answer."""

from __future__ import annotations

import io

import pytest

from tagfleet.client import Client, ClientError, ConnectionLost, Denied, Edit, Missing, TagCount
from tagfleet.testing import Failed, deployment

OUTCOME_UNKNOWN = {
    "type": "urn:tagfleet:outcome-unknown",
    "title": "Unavailable",
    "status": 503,
    "detail": "who knows",
}


def tagged(client, *names):
    """A batch of these photos with their tags; the items by name."""
    batch = client.create_batch()
    client.upload(batch, [(name, io.BytesIO(name.encode())) for name in names])
    client.close(batch)
    return batch, {item.name: item for item in client.stream(batch)}


def test_the_end_of_a_batch(service, client):
    service.tagger.answer = lambda photo: {"dog": 0.9} if photo.name == "a.jpg" else None
    batch = client.create_batch()
    client.upload(batch, [(name, io.BytesIO(name.encode())) for name in ("a.jpg", "b.jpg")])
    service.step()
    ended = client.cancel(batch)
    assert (ended.status, ended.cancelled, ended.expires_at) == ("cancelled", 1, None)
    client.delete(batch)
    with pytest.raises(Missing):
        client.batch(batch.id)
    asked = [one for one in service.faults.requests if one.method == "DELETE" or one.path.endswith("/cancel")]
    assert [(one.method, one.body) for one in asked] == [("POST", b""), ("DELETE", b"")]


def test_failed_images_are_tried_again(service, client):
    service.tagger.answer = lambda photo: Failed(f"{photo.name} is damaged")
    batch, items = tagged(client, "a.jpg", "b.jpg", "c.jpg")
    service.tagger.answer = lambda _photo: {"dog": 0.9}
    assert client.retry(batch, [items["a.jpg"].image_id]) == 1
    assert client.retry(batch) == 2
    assert [one.json for one in service.faults.requests[-2:]] == [{"image_ids": [items["a.jpg"].image_id]}, {}]
    assert {item.status for item in client.stream(batch)} == {"succeeded"}


def test_an_export_is_what_the_service_sends(service, client):
    batch, _ = tagged(client, "a.jpg")
    out = io.BytesIO()
    client.export(batch, "csv", out)
    assert out.getvalue() == service.http().get(f"/api/v1/batches/{batch.id}/export?format=csv").data
    assert b"a.jpg" in out.getvalue()


def test_tags_of_one_image(service, client):
    _, items = tagged(client, "a.jpg")
    image = items["a.jpg"]
    edit = client.edit_tags(image.image_id, add=["our dog"], remove=["cat"])
    (edited,) = edit.images
    assert (edited.edited, edited.finished) == (True, True)
    assert [(tag.name, tag.source) for tag in edited.tags] == [("dog", "model"), ("our dog", "person")]
    (undone,) = client.undo(edit)
    assert (undone.edited, undone.tags) == (False, image.tags)
    accepted = client.feedback(undone, "dog", "accept")
    assert [(tag.name, tag.source) for tag in accepted.tags] == [("dog", "person")]
    assert [one.json for one in service.faults.requests[-3:]] == [
        {"add": ["our dog"], "remove": ["cat"]},
        {"edit_id": edit.id},
        {"tag": "dog", "verdict": "accept"},
    ]


def test_tags_of_many_images(service, client):
    batch, items = tagged(client, "a.jpg", "b.jpg")
    ids = [item.image_id for item in items.values()]
    edit = client.edit_tags_of_many(batch.id, ids, add=["Rome"])
    assert isinstance(edit, Edit)
    assert service.faults.requests[-1].json == {"image_ids": ids, "add": ["Rome"], "remove": []}
    assert [[tag.name for tag in item.tags] for item in edit.images] == [["dog", "Rome"]] * 2
    assert [[tag.name for tag in item.tags] for item in client.undo(edit)] == [["dog"], ["dog"]]


def test_an_edit_without_images_cannot_be_undone(service, client):
    with pytest.raises(ValueError, match="edit edt_1 has no images"):
        client.undo(Edit("edt_1", []))
    assert service.faults.requests == []


def test_tags_across_batches(service, client):
    tagged(client, "a.jpg")
    tagged(client, "b.jpg", "c.jpg")
    assert client.tags("do", limit=5) == [TagCount("dog", 3)]
    assert sorted(item.name for item in client.search("dog", min_confidence=0.5)) == ["a.jpg", "b.jpg", "c.jpg"]
    assert list(client.search("dog", min_confidence=0.95)) == []
    assert [one.query for one in service.faults.requests[-3:]] == [
        "q=do&limit=5",
        "limit=500&tag=dog&min_confidence=0.5",
        "limit=500&tag=dog&min_confidence=0.95",
    ]


def test_keys_and_webhooks():
    with deployment(settings={"webhooks.allow_private": True}) as service:
        client = service.client()
        made = client.create_key("nas")
        assert made["key"].startswith("tf_")
        assert service.faults.requests[-1].json == {"name": "nas", "scopes": ["read", "write"]}
        client.revoke_key(made["id"])
        (key,) = client.keys()
        assert key["id"] == made["id"]
        assert key["revoked_at"] is not None
        assert "key" not in key
        hook = client.create_webhook(f"{service.url}/hook", ["batch.completed"])
        assert hook["secret"].startswith("whsec_")
        assert [one["id"] for one in client.webhooks()] == [hook["id"]]
        service.faults.answers_next("/hook", 204)
        assert client.test_webhook(hook["id"])["status"] == 204
        client.delete_webhook(hook["id"])
        assert client.webhooks() == []


def authorizations(service):
    return {one.headers.get("Authorization") for one in service.faults.requests}


def test_a_key_read_from_a_file_ends_with_its_line(service):
    with Client(service.url, api_key=service.create_key("me") + "\n") as client:
        client.create_batch()
    (sent,) = authorizations(service)
    assert sent.startswith("Bearer tf_")
    assert sent.strip() == sent


@pytest.mark.parametrize("key", ["tf_secret\nX: y", "tf_sécret", "tf_\x00secret"])
def test_what_can_be_no_key_is_refused_and_not_repeated(service, key):
    with pytest.raises(ClientError, match="API key") as refused:
        Client(service.url, api_key=key)
    assert "cret" not in str(refused.value)


def test_the_key_goes_with_every_request():
    with deployment(settings={"web.require_keys": True}) as service:
        key = service.create_key("me")
        client = service.client(api_key=key)
        batch = client.create_batch()
        client.close(batch)
        list(client.events(batch))
        assert authorizations(service) == {f"Bearer {key}"}


def test_a_key_that_does_not_open_is_said_at_once():
    with deployment(settings={"web.require_keys": True}) as service:
        with pytest.raises(Denied, match="asks for a key"):
            service.client(api_key=None).models()
        assert service.faults.count("/models") == 1


def test_what_would_be_done_twice_is_not_sent_twice(service, client):
    service.faults.answers_next("/keys", 503)
    service.faults.breaks_next("/keys")
    with pytest.raises(ConnectionLost):
        client.create_key("nas")
    assert service.faults.count("/keys") == 2, (
        "once more after 503, which did nothing; not after a connection that broke"
    )


def test_what_may_have_been_done_is_sent_again_only_where_it_is_recognised(service, client):
    service.faults.answers_next("/keys", 503, json=OUTCOME_UNKNOWN)
    with pytest.raises(ClientError, match="who knows"):
        client.create_key("nas")
    service.faults.answers_next("/batches", 503, json=OUTCOME_UNKNOWN)
    client.create_batch()
    assert (service.faults.count("/keys"), service.faults.count("/batches")) == (1, 2)


def test_an_export_that_breaks_says_so(service, client):
    service.faults.breaks_next("/export", body=b"name,sta")
    with pytest.raises(ConnectionLost):
        client.export(client.create_batch(), "csv", io.BytesIO())
