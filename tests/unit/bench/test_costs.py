"""docs/costs.md: what the model reckons, and that the page is the one that it makes."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import cost_model, cost_page
from bench.cost_model import Figures, Instance, Model, Rate
from bench.paths import Counted

DOCS = Path(__file__).parents[3] / "docs"
MODEL = Model(
    types=(),
    gpus={"T4": {"fp16": 1000.0, "int8": 5000.0}},
    assumed={
        "boot_s": 100.0,
        "idle_s": 80.0,
        "disk_gb": 0.0,
        "disk_mibps": 0.0,
        "heartbeat_s": 5.0,
        "spot_share": 0.5,
    },
)
FIGURES = Figures(
    machine="2026-01-01, a machine",
    photo_kb=100.0,
    decode_ms=3.0,
    pipeline_ms={"bucket": 1.0},
    engine_ms={"resnet50": 36.0},
    engines={"resnet50": "openvino bf16"},
    requests={"bucket": Counted(1000, {"s3.GetObject": 1000})},
)


def test_the_page_is_made_from_the_recorded_figures() -> None:
    page = (DOCS / "costs.md").read_text(encoding="utf-8")
    assert page == cost_page.page(Figures.read(DOCS / "costs.json"), cost_model.load()), "run: python -m bench costs"


def test_without_a_gpu_the_network_runs_on_the_processor() -> None:
    rate = cost_model.rate_of(Instance("c", 4, 10_000, 0.1), "bucket", "resnet50", FIGURES, MODEL)
    assert rate.images_per_s == pytest.approx(4 * 1000 / 40)
    assert rate.bottleneck == "processor"


@pytest.mark.parametrize(
    ("vcpus", "mbit", "images_per_s", "bottleneck"),
    [(2, 10_000, 500.0, "processor"), (64, 10_000, 1000.0, "GPU"), (64, 800, 950.0, "network")],
)
def test_the_slowest_part_bounds_a_worker(vcpus: int, mbit: float, images_per_s: float, bottleneck: str) -> None:
    rate = cost_model.rate_of(Instance("g", vcpus, mbit, 0.5, "T4"), "bucket", "resnet50", FIGURES, MODEL)
    assert (rate.images_per_s, rate.bottleneck) == (pytest.approx(images_per_s), bottleneck)


def test_boot_idle_end_address_and_heartbeats_are_paid() -> None:
    hours = cost_model.hours_of(1e6 / 3420, MODEL)
    assert hours == pytest.approx(1.0)
    assert cost_model.dollars(1e6 / 3420, 0.5, MODEL) == pytest.approx(0.5 + 0.005 + 720 * 5e-6)


def test_figures_are_read_as_they_were_written(tmp_path) -> None:
    FIGURES.write(tmp_path / "costs.json")
    assert Figures.read(tmp_path / "costs.json") == FIGURES


def test_every_type_has_a_price_and_its_gpu_a_rate() -> None:
    model = cost_model.load()
    assert {one.gpu for one in model.types} - {""} <= set(model.gpus)
    assert all(one.price > 0 for one in model.types)


def test_a_rate_without_a_gpu_is_bound_by_what_there_is() -> None:
    assert Rate(processor=10.0, network=5.0, gpu=None).bottleneck == "network"
