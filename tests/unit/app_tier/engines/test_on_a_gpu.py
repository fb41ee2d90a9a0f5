"""What only a GPU can show: the same engine on real streams, graphs and memory. Skipped on a machine without one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from app_tier.engines import golden, modules
from app_tier.engines import torch as torch_engine
from app_tier.engines.cuda import open_gpu
from app_tier.engines.device_jpegs import DeviceJpegs
from app_tier.engines.devices import CudaDevice
from app_tier.engines.torch import TorchEngine
from app_tier.models.network_lookup import find_network
from app_tier.models.networks import NETWORKS, Network
from core.imaging.plain_jpeg import read_plain_jpeg
from tests import tiny_classifier
from tests.pictures import photo, saved

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")


@pytest.fixture(scope="module")
def gpu() -> CudaDevice:
    return open_gpu()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Network, Path]:
    folder = tmp_path_factory.mktemp("tiny")
    return find_network(tiny_classifier.NAME, folder), tiny_classifier.write_weights(folder / tiny_classifier.FILE)


@pytest.fixture(scope="module")
def engines(gpu: CudaDevice, tiny: tuple[Network, Path]) -> tuple[TorchEngine, TorchEngine]:
    return torch_engine.load_with_exact(*tiny, gpu, gpu.exact())


@pytest.fixture
def little_memory() -> Iterator[None]:
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info()
    torch.cuda.set_per_process_memory_fraction((total - free + 64_000_000) / total)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)


def test_it_agrees_with_the_processor_in_every_size(
    engines: tuple[TorchEngine, TorchEngine], tiny: tuple[Network, Path]
) -> None:
    fast, exact = engines
    assert fast.best_batch >= 64
    _, reference = modules.build_and_check(*tiny)
    for count in (1, 7, 8, 31, 64, fast.best_batch, fast.best_batch + 1):
        rows = fast.infer(np.repeat(golden.pixels(tiny[0].crop), count, axis=0))
        assert np.abs(rows - reference).max() < 0.2 * np.abs(reference).max()
    np.testing.assert_allclose(exact.infer(golden.pixels(tiny[0].crop))[0], reference, atol=1e-2)


def test_two_batches_under_way_do_not_mix(engines: tuple[TorchEngine, TorchEngine], tiny: tuple[Network, Path]) -> None:
    fast, side = engines[0], tiny[0].crop
    random = np.random.default_rng(1)
    batches = [random.integers(0, 256, (fast.best_batch, side, side, 3), dtype=np.uint8) for _ in range(12)]
    alone = [fast.infer(batch) for batch in batches]
    pending = [fast.submit(list(batches[0]))]
    together = []
    for batch in batches[1:]:
        pending.append(fast.submit(list(batch)))
        together.append(pending.pop(0).result())
    together.append(pending.pop().result())
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


def test_its_decoder_gives_our_frames(gpu: CudaDevice) -> None:
    decoder = DeviceJpegs(gpu, NETWORKS["resnet50"])
    difference = decoder.difference()
    assert difference is not None
    assert difference <= DeviceJpegs.TOLERANCE
    good = read_plain_jpeg(saved(photo(), "JPEG"))
    assert good is not None
    frames = decoder.decode([good] * 100)
    assert all(frame is not None and bool((frame.pixels == frames[0].pixels).all()) for frame in frames if frames[0])


def test_out_of_memory_halves_the_batch(gpu: CudaDevice, tiny: tuple[Network, Path], little_memory: None) -> None:
    engine = torch_engine.load(*tiny, gpu)
    count = 4 * engine.best_batch
    assert len(engine.infer(np.repeat(golden.pixels(tiny[0].crop), count, axis=0))) == count
