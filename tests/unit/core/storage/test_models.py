"""The registry: what is added is what is fetched, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from config.validation import first_problem
from core.errors import WeightsInvalid, WeightsMissing
from core.local.store import LocalStore
from core.storage.models import Input, Manifest, Registry, sha256_of


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


@pytest.fixture
def registry(store: LocalStore) -> Registry:
    return Registry(store)


def weights(tmp_path: Path, content: bytes = b"weights") -> Path:
    path = tmp_path / "some.safetensors"
    path.write_bytes(content)
    return path


def manifest(path: Path, **other: object) -> Manifest:
    fields: dict[str, object] = {
        "name": "coco80",
        "family": "multilabel",
        "architecture": "timm/resnet10t",
        "labels": ("cat", "dog"),
        "thresholds": (0.4, 0.6),
        "input": Input(resize=232, crop=224),
        "weights_sha256": sha256_of(path),
        "weights_bytes": path.stat().st_size,
    }
    return Manifest.model_validate(fields | other)


def test_what_is_added_is_found_by_name_and_by_version(registry: Registry, tmp_path: Path) -> None:
    path = weights(tmp_path)
    added = registry.add(manifest(path, card="# COCO"), path)
    assert registry.find("coco80") == registry.find(added.reference) == added
    assert registry.list() == ([added], [])
    fetched = registry.fetch(added, tmp_path / "cache")
    assert fetched.read_bytes() == b"weights"
    assert fetched.name == f"{added.reference}.safetensors"


def test_a_version_is_what_decides_the_tags(tmp_path: Path) -> None:
    path = weights(tmp_path)
    one = manifest(path)
    assert one.version == manifest(path, card="other words", metrics={"mAP": 0.8}, created_at=5.0).version
    assert one.version != manifest(path, thresholds=(0.4, 0.7)).version
    assert one.version != manifest(path, temperature=1.5).version


def test_the_first_is_the_default_and_a_later_one_only_if_it_is_wanted(registry: Registry, tmp_path: Path) -> None:
    path = weights(tmp_path)
    first = registry.add(manifest(path), path, default=False)
    second = registry.add(manifest(path, temperature=2.0), path, default=False)
    assert registry.default("coco80") == first.version
    assert registry.set_default(second.reference) == second
    assert registry.find("coco80") == second
    third = registry.add(manifest(path, temperature=3.0), path)
    assert registry.default("coco80") == third.version


def test_a_default_with_others_beside_it_is_not_removed(registry: Registry, store: LocalStore, tmp_path: Path) -> None:
    path = weights(tmp_path)
    first = registry.add(manifest(path), path)
    second = registry.add(manifest(path, temperature=2.0), path)
    with pytest.raises(WeightsInvalid, match=f"tagfleet models default {first.reference}"):
        registry.remove("coco80")
    registry.remove(first.reference)
    assert registry.list() == ([second], [])
    registry.remove("coco80")
    assert list(store.list("models/")) == []
    with pytest.raises(WeightsMissing, match="there is no model 'coco80'"):
        registry.find("coco80")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": "Bad Name"}, "name: should be lower-case letters and digits, with single dashes between them"),
        ({"architecture": "resnet50"}, "architecture: should be torchvision/NAME or timm/NAME"),
        ({"temperature": 0.0}, "temperature: Input should be greater than"),
    ],
)
def test_what_is_wrong_with_a_manifest_is_said_in_words(tmp_path: Path, fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as refused:
        manifest(weights(tmp_path), **fields)
    assert first_problem(refused.value).startswith(said)


def test_a_damaged_version_is_removed_as_any_other(registry: Registry, store: LocalStore, tmp_path: Path) -> None:
    path = weights(tmp_path)
    sound = registry.add(manifest(path), path)
    broken = registry.add(manifest(path, temperature=2.0), path)
    store.put(f"models/coco80/{broken.version}/model.json", b"{")
    with pytest.raises(WeightsInvalid, match=f"tagfleet models default {sound.reference}"):
        registry.remove("coco80")
    registry.set_default(sound.reference)
    assert registry.remove(broken.reference) == broken.reference
    assert registry.list() == ([sound], [])
    with pytest.raises(WeightsMissing, match=f"there is no model {broken.reference}"):
        registry.remove(broken.reference)


def test_weights_that_are_not_the_manifests_are_refused(registry: Registry, tmp_path: Path) -> None:
    path = weights(tmp_path)
    described = manifest(path)
    path.write_bytes(b"w3ights")
    with pytest.raises(WeightsInvalid, match="damaged: 7 bytes with SHA-256"):
        registry.add(described, path)
    assert registry.list() == ([], [])


def test_damage_in_the_store_is_noticed_and_nothing_is_kept(
    registry: Registry, store: LocalStore, tmp_path: Path
) -> None:
    path = weights(tmp_path)
    added = registry.add(manifest(path), path)
    store.put(f"models/coco80/{added.version}/model.safetensors", b"weightz")
    with pytest.raises(WeightsInvalid, match=f"the weights of {added.reference} are damaged"):
        registry.fetch(added, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
    store.delete([f"models/coco80/{added.version}/model.safetensors"])
    with pytest.raises(WeightsMissing, match="no longer in the store"):
        registry.fetch(added, tmp_path / "cache")


def test_a_manifest_that_was_edited_is_refused(registry: Registry, store: LocalStore, tmp_path: Path) -> None:
    path = weights(tmp_path)
    added = registry.add(manifest(path), path)
    key = f"models/coco80/{added.version}/model.json"
    edited = json.loads(store.get(key).data) | {"thresholds": [0.1, 0.1]}
    store.put(key, json.dumps(edited).encode())
    with pytest.raises(WeightsInvalid, match="was changed after it was added"):
        registry.find("coco80")
    assert registry.list() == (
        [],
        [f"the manifest of {added.reference} was changed after it was added: add the model again"],
    )
    store.put(key, b"{")
    with pytest.raises(WeightsInvalid, match="is not a model's manifest"):
        registry.find("coco80")


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"thresholds": (0.5,)}, "1 of them for 2 labels"),
        ({"labels": ("cat", "cat")}, "there twice"),
        ({"architecture": "https://example.org/x"}, "architecture"),
        ({"temperature": 0}, "temperature"),
        ({"name": "../up"}, "name"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(wrong: dict[str, object], says: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=says):
        manifest(weights(tmp_path), **wrong)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(name=st.text(max_size=30), version=st.text(max_size=12))
def test_no_reference_names_anything_else(registry: Registry, name: str, version: str) -> None:
    """Whatever a person types: the model is not there, and no other error comes out of it."""
    with pytest.raises(WeightsMissing, match="no model"):
        registry.find(f"{name}@{version}")
