"""A worker switches to a new default version while photos keep coming in."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from app_tier.worker.heartbeats import Identity
from app_tier.worker.worker import Worker
from bench.deployment import wait_until
from config.settings import Settings
from core.domain.messages import Job, Result
from core.storage.models import Input, Manifest, Registry, sha256_of
from core.wiring import Backend

Submit = Callable[..., Job]
Collect = Callable[[int], dict[str, Result]]

NETWORK = "test_efficientnet"


@pytest.fixture
def versions(backend: Backend, tmp_path: Path) -> list[Manifest]:
    """Two versions of one model, which know one tag each."""
    registry, found = Registry(backend.store), []
    torch.manual_seed(1)
    for tag in ("before", "after"):
        path = tmp_path / f"{tag}.safetensors"
        save_file(timm.create_model(NETWORK, num_classes=1).state_dict(), path)
        manifest = Manifest(
            name="pets",
            family="multilabel",
            architecture=f"timm/{NETWORK}",
            labels=(tag,),
            thresholds=(0.0,),
            input=Input(resize=36, crop=32),
            weights_sha256=sha256_of(path),
            weights_bytes=path.stat().st_size,
        )
        found.append(registry.add(manifest, path, default=False))
    return found


@pytest.fixture
def serving(settings: Settings, engine_cache: Path) -> Settings:
    pool = settings.pools["resnet50"].model_copy(update={"tagger": "pets", "fallback": ""})
    worker = settings.worker.model_copy(update={"heartbeat_s": 0.05, "reload_s": 0.05, "threads": 1})
    return settings.model_copy(update={"pools": {"resnet50": pool}, "worker": worker, "cache": engine_cache})


def test_no_image_is_lost_and_each_is_tagged_by_one_version(
    serving: Settings, versions: list[Manifest], submit: Submit, collect: Collect, picture: Any
) -> None:
    backend = Backend(serving)
    worker = Worker(Identity("w1", "resnet50", time.time(), managed=True), serving, backend, time.time)
    thread = threading.Thread(target=worker.run, daemon=True)
    thread.start()
    sent: set[str] = set()

    def send(count: int) -> dict[str, Result]:
        sent.update(submit(picture("red", (40 + n, 40))).image_id for n in range(count))
        return collect(count)

    def serves(manifest: Manifest) -> bool:
        return any(beat.tagger == manifest.reference for beat in backend.roster.workers())

    results = send(5)
    assert {result.tagger for result in results.values()} == {versions[0].reference}
    Registry(backend.store).set_default(versions[1].reference)
    while not serves(versions[1]):
        results |= send(5)
    results |= send(5)
    wait_until(lambda: [status.serves for status in backend.roster.pools()] == [versions[1].reference])
    worker.asked_to_drain.set()
    wait_until(lambda: not thread.is_alive())
    assert set(results) == sent
    said = {(result.tagger, *(tag.name for tag in result.tags)) for result in results.values()}
    assert said == {(versions[0].reference, "before"), (versions[1].reference, "after")}
    assert backend.jobs("resnet50").depth().visible == 0
