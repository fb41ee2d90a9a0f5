"""What the client asks of the service, call by call, and what it makes of the answers."""

from __future__ import annotations

import io

import pytest

from tagfleet.client import Client, ClientError, ConnectionLost, Denied, Edit, TagCount
from tests.unit.tagfleet.client.test_client import broken, busy

IMAGE = {
    "image_id": "img_1",
    "batch_id": "bat_1",
    "name": "a.jpg",
    "sha256": "0" * 64,
    "bytes": 1,
    "status": "cancelled",
    "tags": [{"name": "our dog", "confidence": None, "source": "person", "instances": []}],
    "edited": True,
}
BATCH = {
    "id": "bat_1",
    "status": "cancelled",
    "tagger": "resnet50",
    "request_counts": {"total": 3, "completed": 3, "failed": 1, "cancelled": 1},
    "expires_at": "2027-01-15T08:00:00.000+00:00",
}


def test_the_end_of_a_batch(service, client):
    service.answers = {
        "POST /batches/bat_1/cancel": BATCH,
        "POST /batches/bat_1/retry": {"retried": 2, "batch": BATCH},
        "DELETE /batches/bat_1": b"",
        "GET /batches/bat_1/export": b"name,status\r\n",
    }
    batch = client.cancel("bat_1")
    assert (batch.status, batch.cancelled, batch.expires_at) == ("cancelled", 1, BATCH["expires_at"])
    assert client.retry(batch) == 2
    assert client.retry(batch, ["img_1"]) == 2
    out = io.BytesIO()
    client.export(batch, "csv", out)
    assert out.getvalue() == b"name,status\r\n"
    client.delete(batch)
    assert [(method, query, body) for method, _, query, body in service.asked] == [
        ("POST", "", None),
        ("POST", "", {}),
        ("POST", "", {"image_ids": ["img_1"]}),
        ("GET", "format=csv", None),
        ("DELETE", "", None),
    ]


def test_tags_of_one_image(service, client):
    service.answers = {
        "PATCH /images/img_1/tags": {"image": IMAGE, "edit_id": "edt_1"},
        "POST /images/img_1/tags/undo": {"image": IMAGE},
        "POST /images/img_1/feedback": {"image": IMAGE, "edit_id": "edt_2"},
    }
    edit = client.edit_tags("img_1", add=["our dog"], remove=["cat"])
    (image,) = edit.images
    assert (edit.id, image.edited, image.finished, image.tags[0].source) == ("edt_1", True, True, "person")
    assert client.undo(edit) == [image]
    assert client.feedback(image, "dog", "accept") == image
    assert [body for *_, body in service.asked] == [
        {"add": ["our dog"], "remove": ["cat"]},
        {"edit_id": "edt_1"},
        {"tag": "dog", "verdict": "accept"},
    ]


def test_tags_of_many_images(service, client):
    other = {**IMAGE, "image_id": "img_2"}
    service.answers = {
        "PATCH /batches/bat_1/tags": {"images": [IMAGE, other], "edit_id": "edt_1"},
        "POST /batches/bat_1/tags/undo": {"images": [IMAGE, other]},
    }
    edit = client.edit_tags_of_many("bat_1", ["img_1", "img_2"], add=["Rome"])
    assert isinstance(edit, Edit)
    assert client.undo(edit) == edit.images
    assert service.asked[0][3] == {"image_ids": ["img_1", "img_2"], "add": ["Rome"], "remove": []}


def test_tags_across_batches(service, client):
    service.answers = {
        "GET /tags": {"tags": [{"name": "dog", "count": 3}]},
        "GET /images": {"images": [IMAGE], "next_cursor": None},
    }
    assert client.tags("do", limit=5) == [TagCount("dog", 3)]
    assert [item.image_id for item in client.search("dog", min_confidence=0.5)] == ["img_1"]
    assert [query for *_, query, _ in service.asked] == ["q=do&limit=5", "limit=500&tag=dog&min_confidence=0.5"]


def test_keys_and_webhooks(service, client):
    service.answers = {
        "POST /keys": {"id": "key_1", "key": "tf_secret"},
        "GET /keys": {"keys": [{"id": "key_1"}]},
        "DELETE /keys/key_1": b"",
        "POST /webhooks": {"id": "whk_1", "secret": "whsec_x"},
        "GET /webhooks": {"webhooks": [{"id": "whk_1"}]},
        "POST /webhooks/whk_1/test": {"status": 200, "error": None},
        "DELETE /webhooks/whk_1": b"",
    }
    assert client.create_key("nas")["key"] == "tf_secret"
    assert client.keys() == [{"id": "key_1"}]
    client.revoke_key("key_1")
    assert client.create_webhook("https://example.org/hook", ["batch.completed"])["secret"] == "whsec_x"
    assert client.webhooks() == [{"id": "whk_1"}]
    assert client.test_webhook("whk_1")["status"] == 200
    client.delete_webhook("whk_1")
    assert service.asked[0][3] == {"name": "nas", "scopes": ["read", "write"]}


def test_a_key_read_from_a_file_ends_with_its_line(service):
    with Client(service.url, api_key="tf_secret\n") as client:
        client.create_batch()
    assert service.authorizations == {"Bearer tf_secret"}


@pytest.mark.parametrize("key", ["tf_secret\nX: y", "tf_sécret", "tf_\x00secret"])
def test_what_can_be_no_key_is_refused_and_not_repeated(service, key):
    with pytest.raises(ClientError, match="API key") as refused:
        Client(service.url, api_key=key)
    assert "cret" not in str(refused.value)


def test_the_key_goes_with_every_request(service):
    with Client(service.url, api_key="tf_secret") as client:
        batch = client.create_batch()
        client.close(batch)
        list(client.events(batch))
    assert service.authorizations == {"Bearer tf_secret"}


def test_a_key_that_does_not_open_is_said_at_once(service, client):
    def closed(handler):
        handler.body()
        handler.problem(401, "Unauthorized", "this server asks for a key")

    service.plan("/models", closed)
    with pytest.raises(Denied, match="asks for a key"):
        client.models()
    assert service.count("/models") == 1


def test_what_would_be_done_twice_is_not_sent_twice(service, client):
    service.answers = {"POST /keys": {"id": "key_1", "key": "tf_secret"}}
    service.plan("/keys", busy, broken)
    with pytest.raises(ConnectionLost):
        client.create_key("nas")
    assert service.count("/keys") == 2, "once more after 503, which did nothing; not after a connection that broke"


def test_what_may_have_been_done_is_sent_again_only_where_it_is_recognised(service, client):
    body = b'{"type": "urn:tagfleet:outcome-unknown", "title": "Unavailable", "status": 503, "detail": "who knows"}'

    def unknown(handler):
        handler.body()
        handler.send_response(503)
        handler.send_header("Retry-After", "0")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    service.answers = {"POST /keys": {"id": "key_1", "key": "tf_secret"}}
    service.plan("/keys", unknown)
    with pytest.raises(ClientError, match="who knows"):
        client.create_key("nas")
    service.plan("/batches", unknown)
    client.create_batch()
    assert (service.count("/keys"), service.count("/batches")) == (1, 2)


def test_an_export_that_breaks_says_so(service, client):
    def cut(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b"name,sta")
        broken(handler)

    service.plan("/export", cut)
    with pytest.raises(ConnectionLost):
        client.export("bat_1", "csv", io.BytesIO())
