"""The table of GPUs agrees with the installed torch, and says which instance types it cannot run."""

from __future__ import annotations

import platform
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

import config
from config import gpus


def test_the_table_lists_the_installed_torchs_kernels() -> None:
    assert version("torch").partition("+")[0] == gpus.torch_version()
    if platform.machine() == "x86_64" and torch.cuda.get_arch_list():
        assert torch.cuda.get_arch_list() == gpus.torch_architectures()


@pytest.mark.parametrize(
    ("capability", "runs"),
    [((7, 0), False), ((7, 5), True), ((8, 0), True), ((8, 6), True), ((8, 9), True), ((9, 0), True), ((3, 7), False)],
)
def test_kernels_run_on_their_generation_from_their_minor_version_on(capability: tuple[int, int], runs: bool) -> None:
    assert gpus.runs_on(gpus.torch_architectures(), capability) is runs


def test_each_type_has_its_card_and_processors_have_none() -> None:
    assert gpus.gpu_of("g4dn.xlarge") == gpus.Gpu("Tesla T4", (7, 5))
    assert gpus.gpu_of("c7g.xlarge") is None
    assert [name for name in ("g6.xlarge", "p9.48xlarge", "c7i.xlarge", "m6g.large") if gpus.has_gpu(name)] == [
        "g6.xlarge",
        "p9.48xlarge",
    ]


def test_the_types_of_our_prices_are_in_the_table() -> None:
    prices = tomllib.loads((Path(config.__file__).parent / "ec2-prices.toml").read_text())
    assert not [name for name in prices["gpu"] if gpus.gpu_of(name) is None]
    assert not [name for name in prices["cpu"] if gpus.has_gpu(name)]


def test_one_sentence_names_what_cannot_run() -> None:
    assert gpus.explain_unsupported(["g4dn.xlarge", "c7i.xlarge", "g6.xlarge"]) == ""
    said = gpus.explain_unsupported(["g4dn.xlarge", "p3.2xlarge"])
    assert said.startswith("no worker can start on p3.2xlarge (Tesla V100, 7.0): torch 2.")
