"""Near-ties run again on a more exact engine, and only they."""

from __future__ import annotations

import numpy as np

from app_tier.engines import Engine, Engines, Outputs, Pixels
from app_tier.engines.settling import NearTies, SettlingEngine, margins, with_settling


class Table:
    """An engine with fixed outputs for each image, which is told by its first pixel."""

    best_batch = 16

    def __init__(self, name: str, *rows: tuple[float, ...]) -> None:
        self.name = name
        self.seen: list[int] = []
        self._rows = np.array(rows, dtype=np.float32)

    def infer(self, batch: Pixels) -> Outputs:
        numbers = batch[:, 0, 0, 0]
        self.seen += numbers.tolist()
        outputs: Outputs = self._rows[numbers].copy()
        return outputs


FRAMES = np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1).repeat(3, axis=3)
INT8 = Table("openvino int8", (5, 1, 0), (5, 4.9, 0), (1, 1.02, 0))


def test_only_near_ties_are_computed_again() -> None:
    exact = Table("fp32", (0, 0, 9), (4.8, 5, 0), (3, 1, 0))
    engine = SettlingEngine(Engines(INT8, lambda: exact, 0.2))
    assert engine.infer(FRAMES).argmax(axis=1).tolist() == [0, 1, 0]
    assert (exact.seen, engine.near_ties.settled) == ([1, 2], 2)
    assert (engine.name, engine.best_batch) == ("openvino int8, near-ties in fp32", 16)


def test_the_exact_engine_is_made_once_and_only_if_needed() -> None:
    made = []

    def make() -> Engine:
        made.append(1)
        return Table("fp32", *[(1, 0, 0)] * 3)

    engine = SettlingEngine(Engines(INT8, make, 0.2))
    engine.infer(FRAMES[:1])
    assert not made
    engine.infer(FRAMES)
    engine.infer(FRAMES)
    assert made == [1]


def test_a_settling_engine_may_settle_what_another_leaves_close() -> None:
    fp32 = Table("fp32", (0, 0, 9), (0, 9, 0), (9, 0, 0))
    bf16 = Table("openvino bf16", (9, 0, 0), (5, 4.5, 0), (1, 1.01, 0))
    without_int8 = with_settling(Engines(bf16, lambda: fp32, 0.08))
    engine = with_settling(Engines(INT8, lambda: without_int8, 0.2, "bf16"))
    assert engine.infer(FRAMES).tolist() == [[5, 1, 0], [5, 4.5, 0], [9, 0, 0]]
    assert (bf16.seen, fp32.seen) == ([1, 2], [2])
    assert engine.name == "openvino int8, near-ties in bf16"


def test_an_exact_engine_stays_as_it_is() -> None:
    assert with_settling(Engines(INT8)) is INT8
    outputs = INT8.infer(FRAMES)
    assert NearTies(Engines(INT8)).settle(FRAMES, outputs) is outputs


def test_margins() -> None:
    assert margins(np.array([[1.0, 4.0, 3.5], [2.0, 2.0, 0.0]], dtype=np.float32)).tolist() == [0.5, 0.0]
