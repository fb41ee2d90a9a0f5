"""A deployment started in a folder whose files shadow Python's modules."""

from __future__ import annotations

import httpx
import pytest

from tagfleet.client import Client
from tests.hostile_folder import HostileFolder

pytestmark = pytest.mark.e2e


def test_files_beside_it_are_not_executed(tmp_path, monkeypatch, deploy, make_photos):
    """No process imports them: web tier, collector, prepare, controller, worker, or the decoder of thumbnails."""
    hostile = HostileFolder(tmp_path / "hostile")
    monkeypatch.chdir(hostile.folder)
    deployment = deploy()
    [(_, content)] = make_photos(1)
    with Client(deployment.url) as client:
        batch = client.create_batch()
        (tmp_path / "photo.jpg").write_bytes(content)
        client.upload(batch, [tmp_path / "photo.jpg"])
        client.close(batch)
        [item] = client.stream(batch)
        assert item.status == "succeeded"
    answer = httpx.get(f"{deployment.url}/api/v1/images/{item.image_id}/thumbnail")
    assert answer.headers["content-type"] == "image/jpeg"
    assert hostile.executed == []
