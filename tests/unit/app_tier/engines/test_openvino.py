"""Several batches at a time on the processor: each has its own outputs, and nobody waits for ever."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from app_tier.engines import DeviceEngine
from app_tier.engines.openvino import OpenVinoEngine, convert_once
from app_tier.models.network_lookup import find_network
from tests import tiny_classifier

_SIDE = 160


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> OpenVinoEngine:
    folder = tmp_path_factory.mktemp("tiny")
    network = find_network(tiny_classifier.NAME, folder)
    weights = tiny_classifier.write_weights(folder / tiny_classifier.FILE)
    return OpenVinoEngine(convert_once(network, weights, "0" * 64, folder), 2, bf16=False)


@pytest.fixture
def frames() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (24, _SIDE, _SIDE, 3), dtype=np.uint8)


def test_it_takes_a_batch_for_each_stream(engine: OpenVinoEngine) -> None:
    assert isinstance(engine, DeviceEngine)
    assert (engine.under_way, engine.most_at_once, engine.decodes_jpegs) == (2, None, False)
    assert engine.decode([]) == []


@pytest.mark.parametrize("count", [1, 2, 3, 8, 24])
def test_a_batch_of_any_size_is_divided_and_stays_in_order(
    engine: OpenVinoEngine, frames: np.ndarray, count: int
) -> None:
    alone = np.concatenate([engine.infer(frames[at : at + 1]) for at in range(count)])
    np.testing.assert_allclose(engine.infer(frames[:count]), alone, atol=1e-3)


def test_batches_under_way_do_not_mix(engine: OpenVinoEngine, frames: np.ndarray) -> None:
    alone = engine.infer(frames)
    pending = [engine.submit(list(frames[:5])), engine.submit(list(frames[5:12]))]
    np.testing.assert_allclose(pending[1].result(), alone[5:12], atol=1e-3)
    np.testing.assert_allclose(pending[0].result(), alone[:5], atol=1e-3)
    np.testing.assert_array_equal(pending[0].frames[np.array([True] + 4 * [False])], frames[:1])


def test_many_threads_use_it(engine: OpenVinoEngine, frames: np.ndarray) -> None:
    alone = engine.infer(frames)
    with ThreadPoolExecutor(6) as threads:
        for rows in threads.map(lambda _: engine.infer(frames), range(24)):
            np.testing.assert_allclose(rows, alone, atol=1e-3)


def test_a_batch_that_does_not_fit_frees_its_stream(engine: OpenVinoEngine, frames: np.ndarray) -> None:
    for _ in range(3):
        with pytest.raises(Exception, match=r"(?s)."):  # of OpenVINO, whatever it is
            engine.submit(np.zeros((1, 7, 7, 3), np.uint8)).result()
    assert engine.infer(frames).shape[0] == len(frames)
