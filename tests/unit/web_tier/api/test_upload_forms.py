"""Images that go straight into a store that has forms for it."""

from __future__ import annotations

from typing import Any

import pytest

from core.storage import layout
from core.storage.ports import UploadForm
from core.wiring import Backend
from web_tier.app import create_app


class FormStore:
    """The local store with forms; whoever is given one puts the bytes under its key."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def upload_form(self, key: str, *, content_type: str, max_bytes: int, expires_s: int) -> UploadForm:
        fields = {"key": key, "content-type": content_type, "max": str(max_bytes), "expires": str(expires_s)}
        return UploadForm("https://store.example/", fields)


@pytest.fixture
def forms(web):
    """The client of a service whose store has forms, over the same catalogue and queues."""
    backend = Backend(web.settings)
    backend.__dict__["store"] = FormStore(backend.store)
    app = create_app(backend, web.settings, web.clock)
    yield app.test_client()
    app.extensions["tagfleet"].database.close()


def asked(forms, batch: str) -> dict[str, Any]:
    answer = forms.post("/api/v1/uploads", json={"batch_id": batch})
    assert answer.status_code == 201, answer.text
    return answer.json


def named(forms, batch: str, *images: tuple[str, str]):
    body = {"images": [{"image_id": image_id, "name": name} for image_id, name in images]}
    return forms.post(f"/api/v1/batches/{batch}/images/uploaded", json=body)


def test_a_form_takes_an_image_that_is_tagged_once_it_is_named(web, forms):
    batch = web.batch()
    form = asked(forms, batch)
    assert form["fields"]["key"] == layout.image_key(batch, form["image_id"])
    assert form["fields"]["max"] == str(web.settings.web.max_image_mb << 20)
    assert form["expires_at"] == "2027-01-15T08:15:00.000+00:00"
    assert named(forms, batch, (form["image_id"], "a.jpg")).json == {"images": [None]}, "nothing was sent yet"

    web.backend.store.put(form["fields"]["key"], b"one")
    (item,) = named(forms, batch, (form["image_id"], "a.jpg")).json["images"]
    assert (item["image_id"], item["name"], item["bytes"], item["status"]) == (form["image_id"], "a.jpg", 3, "queued")
    again = named(forms, batch, (form["image_id"], "b.jpg"), (form["image_id"], "c.jpg")).json["images"]
    assert [image["name"] for image in again] == ["a.jpg", "a.jpg"]
    (job,) = web.jobs()
    assert web.backend.store.get(job.key).data == b"one"


def test_what_the_batch_has_already_is_not_kept_twice(web, forms):
    batch = web.batch()
    (image,) = web.upload(batch, ("a.jpg", b"one"))
    form = asked(forms, batch)
    web.backend.store.put(form["fields"]["key"], b"one")
    (item,) = named(forms, batch, (form["image_id"], "a.jpg")).json["images"]
    assert item["image_id"] == image["image_id"]
    assert len(list(web.backend.store.list(f"uploads/{batch}/"))) == 1


def test_an_image_of_another_batch_is_not_taken(web, forms):
    batch, other = web.batch(), web.batch()
    (image,) = web.upload(other, ("a.jpg", b"one"))
    assert named(forms, batch, (image["image_id"], "a.jpg")).json == {"images": [None]}


def test_a_batch_that_is_closed_or_not_there_gives_no_form(web, forms):
    batch = web.batch()
    web.close(batch)
    assert forms.post("/api/v1/uploads", json={"batch_id": batch}).status_code == 409
    assert forms.post("/api/v1/uploads", json={"batch_id": "bat_none"}).status_code == 404
    assert named(forms, batch).status_code == 409


def test_a_store_without_forms_says_where_to_send_images(web):
    batch = web.batch()
    answer = web.client.post("/api/v1/uploads", json={"batch_id": batch})
    assert answer.status_code == 404
    assert f"/api/v1/batches/{batch}/images" in answer.json["detail"]


@pytest.mark.parametrize("wrong", ["", "../x", "img_1", "img_" + "a" * 22 + "\n"])
def test_an_id_that_is_none_is_refused(web, forms, wrong):
    assert named(forms, web.batch(), (wrong, "a.jpg")).status_code == 422
