"""Photos of the first versions, whose bytes are under `images/`: everything finds them."""

from __future__ import annotations

import hashlib
import io

import pytest
from PIL import Image

from core.errors import Misconfigured
from tests.unit.web_tier.conftest import Budget, Failing, Web
from web_tier.services.lifecycle import purge


def picture() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (40, 20), "red").save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def web(web):
    yield web
    web.client.application.extensions["tagfleet"].thumbnails.close()


def planted(web: Web, *files: tuple[str, bytes]) -> list[dict]:
    """Upload files, and lay their bytes where they were kept at first, spelled out here."""
    images = web.upload(web.batch(), *files)
    store = web.backend.store
    for image in images:
        place = f"{image['batch_id']}/{image['image_id']}"
        store.put(f"images/{place}", store.get(f"uploads/{place}").data)
        store.delete([f"uploads/{place}"])
    return images


def below_images(web: Web) -> list[str]:
    return [info.key for info in web.backend.store.list("images/")]


def test_they_have_thumbnails(web):
    (image,) = planted(web, ("a.png", picture()))
    assert web.client.get(f"/api/v1/images/{image['image_id']}/thumbnail").mimetype == "image/jpeg"


def test_they_are_tagged_and_tried_again(web):
    (image,) = planted(web, ("a.png", picture()))
    (job,) = web.jobs()
    assert web.backend.originals.of_job(job) == (job, picture())
    web.finish(web.result_of(job, error="a.png: broken"))
    web.collect()
    assert web.client.post(f"/api/v1/batches/{image['batch_id']}/retry", json={}).json["retried"] == 1
    (again,) = web.jobs()
    assert web.backend.originals.of_job(again)[1] == picture()


def test_jobs_of_that_time_are_read_where_they_say(web):
    (image,) = planted(web, ("a.png", picture()))
    (job,) = web.jobs()
    old = job.model_copy(update={"key": f"images/{image['batch_id']}/{image['image_id']}"})
    assert web.backend.originals.of_job(old) == (old, picture())


def test_they_are_recognised_by_their_content(web):
    planted(web, ("a.png", picture()))
    other = web.batch()
    wanted = {"images": [{"name": "b.png", "sha256": hashlib.sha256(picture()).hexdigest()}]}
    answer = web.client.post(f"/api/v1/batches/{other}/images/known", json=wanted)
    (copy,) = answer.json["images"]
    assert web.backend.store.get(f"uploads/{other}/{copy['image_id']}").data == picture()


def test_they_are_exported(web):
    (image,) = planted(web, ("a.png", picture()))
    web.finish(*map(web.result_of, web.jobs()))
    web.collect()
    answer = web.client.get(f"/api/v1/batches/{image['batch_id']}/export?format=jsonl")
    assert answer.status_code == 200, answer.text
    assert "a.png" in answer.text


def test_a_deleted_batch_leaves_none_and_other_batches_and_dropped_files_stay(web):
    gone, stays = planted(web, ("a.png", picture())), planted(web, ("b.png", picture()))
    web.backend.store.put("images/holiday/c.png", picture())
    assert web.client.delete(f"/api/v1/batches/{gone[0]['batch_id']}").status_code == 204
    assert below_images(web) == sorted(
        [f"images/{stays[0]['batch_id']}/{stays[0]['image_id']}", "images/holiday/c.png"]
    )


def test_files_there_that_are_not_ours_hold_up_no_deletion(web):
    """On AWS the prefix is for dropped files, which nobody of us may delete."""
    (image,) = planted(web, ("a.png", picture()))
    denying = Failing(web.backend.store, Budget(0, Misconfigured), "delete")
    assert purge(denying, image["batch_id"], 10) == 0
    assert len(below_images(web)) == 1
