"""The torch engine on a fake GPU: batches by a probe, two under way, graphs, and a device without memory."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from app_tier.engines import DeviceFrame, Pixels, golden, modules
from app_tier.engines import torch as torch_engine
from app_tier.engines.devices import CpuDevice
from app_tier.engines.precision import BF16, FP16, Precision
from app_tier.engines.torch import TorchEngine
from app_tier.models.network_lookup import find_network
from app_tier.models.networks import Network
from core.errors import GpuUnusable, WeightsInvalid
from tests import tiny_classifier
from tests.fake_gpu import FakeGpu, Means

SIDE = 4


def frames(count: int, seed: int = 1) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)


def make(module: Means, gpu: FakeGpu) -> TorchEngine:
    return TorchEngine(module, SIDE, 3, gpu)  # type: ignore[arg-type]  # a smaller network


def expect(batch: Pixels) -> np.ndarray:
    return batch.astype(np.float32).mean((1, 2))


def test_the_probe_sets_the_batch_and_graphs_are_captured_for_it_and_smaller_ones() -> None:
    gpu = FakeGpu()
    engine = make(Means(room=100), gpu)
    assert engine.best_batch == 64, "there is no memory for 128"
    assert gpu.captured == [64, 32, 8] * 2
    for count in (1, 8, 9, 33, 64, 65, 200):
        np.testing.assert_allclose(engine.infer(frames(count)), expect(frames(count)), rtol=1e-5)
    assert gpu.replayed[:6] == [8, 8, 32, 64, 64, 64]


def test_without_graphs_it_computes_all_the_same() -> None:
    gpu = FakeGpu(at_once=16)
    gpu.refuses_capture = True
    engine = make(Means(), gpu)
    np.testing.assert_allclose(engine.infer(frames(20)), expect(frames(20)), rtol=1e-5)
    assert not gpu.replayed


def test_two_batches_are_under_way_and_a_third_waits_for_a_lane() -> None:
    gpu = FakeGpu(at_once=8)
    engine = make(Means(), gpu)
    gpu.pause()
    first, second = engine.submit(list(frames(3, 1))), engine.submit(list(frames(8, 2)))
    third: list[np.ndarray] = []
    waiting = threading.Thread(target=lambda: third.append(engine.infer(frames(5, 3))), daemon=True)
    waiting.start()
    assert not third
    gpu.go_on()
    np.testing.assert_allclose(second.result(), expect(frames(8, 2)), rtol=1e-5)
    np.testing.assert_allclose(first.result(), expect(frames(3, 1)), rtol=1e-5)
    waiting.join(60)
    np.testing.assert_allclose(third[0], expect(frames(5, 3)), rtol=1e-5)


def test_frames_of_both_memories_keep_their_order() -> None:
    engine, batch = make(Means(), FakeGpu(at_once=8)), frames(6)
    mixed = [DeviceFrame(torch.from_numpy(frame)) if n in (0, 3, 4) else frame for n, frame in enumerate(batch)]
    pending = engine.submit(mixed)
    chosen = np.array([True, False, True, True, False, False])
    np.testing.assert_allclose(pending.result(), expect(batch), rtol=1e-5)
    np.testing.assert_array_equal(pending.frames[chosen], batch[chosen])


@pytest.mark.parametrize("room", [5, 1])
def test_out_of_memory_halves_the_batch_for_good(room: int) -> None:
    module, gpu = Means(), FakeGpu(at_once=16)
    gpu.captures = False
    engine = make(module, gpu)
    module.room, mixed = room, frames(16)
    batch = [DeviceFrame(torch.from_numpy(frame)) if n % 3 else frame for n, frame in enumerate(mixed)]
    np.testing.assert_allclose(engine.submit(batch).result(), expect(mixed), rtol=1e-5)
    assert engine.best_batch == min(4, room)
    module.room = 100
    module.sizes.clear()
    np.testing.assert_allclose(engine.infer(frames(9)), expect(frames(9)), rtol=1e-5)
    assert max(module.sizes) == engine.best_batch


def test_no_memory_for_one_image_ends_the_worker_in_one_line_and_leaves_the_lanes() -> None:
    module, gpu = Means(), FakeGpu(at_once=4)
    gpu.captures = False
    engine = make(module, gpu)
    module.room = 0
    for _ in range(4):  # more than there are lanes
        with pytest.raises(GpuUnusable, match="there is no memory for one image"):
            engine.infer(frames(4))
    with pytest.raises(GpuUnusable, match="there is no memory for one image"):
        make(Means(room=0), FakeGpu())


@pytest.fixture
def tiny(tmp_path: Path) -> tuple[Network, Path]:
    return find_network(tiny_classifier.NAME, tmp_path), tiny_classifier.write_weights(tmp_path / tiny_classifier.FILE)


@pytest.mark.parametrize("precision", [FP16, BF16])
def test_a_loaded_network_agrees_with_the_reference_in_its_precision(
    tiny: tuple[Network, Path], precision: Precision
) -> None:
    network, weights = tiny
    engine, exact = torch_engine.load_with_exact(network, weights, FakeGpu(precision, at_once=8), CpuDevice())
    assert engine.name == f"torch cuda {precision.name} (Fake)"
    assert engine.decodes_jpegs
    _, reference = modules.build_and_check(network, weights)
    np.testing.assert_allclose(exact.infer(golden.pixels(network.crop))[0], reference, atol=1e-4)
    fast = engine.infer(golden.pixels(network.crop))[0]
    assert 0 < np.abs(fast - reference).max() < 0.2 * np.abs(reference).max()


def test_a_gpu_that_computes_something_else_is_refused(tiny: tuple[Network, Path]) -> None:
    class Zeros(FakeGpu):
        def wait(self) -> None:
            for outputs in self.outputs:
                outputs.zero_()

        def __init__(self) -> None:
            super().__init__(at_once=4)
            self.outputs: list[torch.Tensor] = []

        def pinned(self, *shape: int, dtype: torch.dtype) -> torch.Tensor:
            made = torch.zeros(shape, dtype=dtype)
            self.outputs += [made] if dtype is torch.float32 else []
            return made

    with pytest.raises(WeightsInvalid, match=r"torch cuda fp32 \(Fake\) does not reproduce the reference"):
        torch_engine.load(*tiny, Zeros())


def test_on_a_processor_it_is_the_plain_reference(tiny: tuple[Network, Path]) -> None:
    network, weights = tiny
    engine = torch_engine.load(network, weights)
    assert (engine.name, engine.best_batch, engine.under_way, engine.decodes_jpegs) == ("torch cpu fp32", 8, 1, False)
    batch = np.repeat(golden.pixels(network.crop), 11, axis=0)
    _, reference = modules.build_and_check(network, weights)
    np.testing.assert_allclose(engine.infer(batch), np.repeat(reference[None], 11, axis=0), atol=1e-4)


def test_batch_norms_are_folded_where_the_network_can_be_traced(tiny: tuple[Network, Path]) -> None:
    module = modules.build(*tiny)
    picture = torch.from_numpy(golden.pixels(tiny[0].crop))
    with torch.inference_mode():
        before = module(picture)
        module.network = modules.fold_batch_norms(module.network)
        assert not [one for one in module.network.modules() if isinstance(one, torch.nn.BatchNorm2d)]
        torch.testing.assert_close(module(picture), before, atol=1e-3, rtol=1e-3)
    untraceable = torch.nn.Module()
    assert modules.fold_batch_norms(untraceable) is untraceable
