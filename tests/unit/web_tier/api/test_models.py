"""The registry over the API: models with their cards, and a default that only operators set."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.storage.models import Input, Manifest, Registry, sha256_of


@pytest.fixture
def versions(web, tmp_path: Path) -> list[Manifest]:
    """Return two versions of one model; the later one is its default."""
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"weights")
    manifest = Manifest(
        name="pets",
        family="multilabel",
        architecture="timm/resnet10t",
        labels=("cat", "dog"),
        thresholds=(0.5, 0.5),
        input=Input(resize=36, crop=32),
        weights_sha256=sha256_of(path),
        weights_bytes=7,
        metrics={"mAP": 0.5},
        card="# Pets",
        created_at=1_800_000_000.0,
    )
    registry = Registry(web.backend.store)
    return [registry.add(manifest.model_copy(update={"temperature": t}), path) for t in (1.0, 2.0)]


def test_models_are_listed_with_their_cards(web, versions):
    found = web.get("/models/registered")
    assert {(model["reference"], model["default"]) for model in found["models"]} == {
        (versions[0].reference, False),
        (versions[1].reference, True),
    }
    first = found["models"][0]
    assert (first["card"], first["labels"], first["metrics"]) == ("# Pets", 2, {"mAP": 0.5})
    assert first["created_at"] == "2027-01-15T08:00:00.000+00:00"
    assert found["damaged"] == []


def test_a_default_is_set(web, versions):
    answer = web.client.put("/api/v1/models/pets/default", json={"version": versions[0].version})
    assert answer.status_code == 200
    assert Registry(web.backend.store).default("pets") == versions[0].version
    assert {model["version"]: model["default"] for model in answer.json["models"]}[versions[0].version]


@pytest.mark.parametrize(
    ("name", "version", "status"), [("pets", "00000000", 404), ("nothing", "00000000", 404), ("pets", "newest", 422)]
)
def test_what_is_not_there_cannot_be_the_default(web, versions, name, version, status):
    answer = web.client.put(f"/api/v1/models/{name}/default", json={"version": version})
    assert answer.status_code == status
    assert answer.json["request_id"]


def test_a_damaged_manifest_is_named_and_hides_no_other(web, versions):
    web.backend.store.put(f"models/pets/{versions[0].version}/model.json", b"{")
    found = web.get("/models/registered")
    assert [model["reference"] for model in found["models"]] == [versions[1].reference]
    assert "is not a model's manifest" in found["damaged"][0]
    answer = web.client.put("/api/v1/models/pets/default", json={"version": versions[0].version})
    assert answer.status_code == 409
