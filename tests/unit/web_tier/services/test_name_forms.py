"""A name in two Unicode forms, as macOS and other systems give it, is one image and kept as given."""

from __future__ import annotations

import hashlib
import unicodedata

import pytest

from core.storage import layout

COMPOSED = "\u00e9t\u00e9/\u00e9.jpg"
DECOMPOSED = unicodedata.normalize("NFD", COMPOSED)
FORMS = [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)]


@pytest.mark.parametrize(("first", "second"), FORMS)
def test_a_photo_sent_again_from_another_system_is_one_image(web, first, second):
    batch = web.batch()
    (image,) = web.upload(batch, (first, b"one"))
    (again,) = web.upload(batch, (second, b"one"))
    assert (again["image_id"], again["name"]) == (image["image_id"], first)
    assert len(web.jobs()) == 1
    (other,) = web.upload(batch, (second, b"another photo"))
    assert other["name"] == second
    assert web.get(f"/batches/{batch}")["request_counts"]["total"] == 2


def test_both_forms_in_one_request_are_one_image(web):
    batch = web.batch()
    first, second, third = web.upload(batch, (DECOMPOSED, b"one"), (COMPOSED, b"one"), (COMPOSED, b"two"))
    assert (first["image_id"], first["name"]) == (second["image_id"], DECOMPOSED)
    assert third["image_id"] != first["image_id"]
    stored = [info.key for info in web.backend.store.list(layout.batch_prefixes(batch)[0])]
    assert len(stored) == 2


@pytest.mark.parametrize(("first", "second"), FORMS)
def test_a_known_photo_is_one_image_in_both_forms(web, first, second):
    sha256 = hashlib.sha256(b"one").hexdigest()
    source, batch = web.batch(), web.batch()
    web.upload(source, ("a.jpg", b"one"))
    wanted = [{"name": name, "sha256": sha256} for name in (first, second)]
    answer = web.client.post(f"/api/v1/batches/{batch}/images/known", json={"images": wanted})
    one, other = answer.json["images"]
    assert one == other
    assert one["name"] == first
    again = web.client.post(f"/api/v1/batches/{batch}/images/known", json={"images": wanted[1:]})
    assert again.json["images"] == [one]
    (sent,) = web.upload(batch, (second, b"one"))
    assert sent["image_id"] == one["image_id"]
