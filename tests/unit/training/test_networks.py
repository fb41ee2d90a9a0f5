"""Networks with a new head, the moving average of weights, and the learning rate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from app_tier.engines import modules
from core.errors import WeightsInvalid, WeightsMissing
from training.fit import networks
from training.fit.learner import Ema
from training.fit.schedule import Cosine

SMALL = "timm/test_byobnet"


@pytest.fixture
def imagenet(tmp_path: Path) -> Path:
    """Published weights of the small network, with a head of 1,000 labels."""
    torch.manual_seed(5)
    path = tmp_path / "imagenet.safetensors"
    save_file(modules.create_module(SMALL, 1000).state_dict(), path)
    return path


def test_a_new_head_lies_over_the_weights_of_the_file(imagenet: Path, tmp_path: Path) -> None:
    base = networks.look_up_network(SMALL, tmp_path)
    torch.manual_seed(1)
    module = networks.build_with_labels(base, ("cat", "dog"), imagenet)
    theirs = modules.build(base, imagenet).network.state_dict()
    ours = module.network.state_dict()
    new = {name for name in ours if ours[name].shape != theirs[name].shape}
    assert new == {"head.fc.weight", "head.fc.bias"}
    assert all(torch.equal(ours[name], theirs[name]) for name in ours.keys() - new)
    assert module(torch.zeros(2, 160, 160, 3, dtype=torch.uint8)).shape == (2, 2)


@pytest.mark.parametrize("other", ["timm/test_resnet", "resnet50"])
def test_weights_of_another_network_are_refused_by_name(imagenet: Path, tmp_path: Path, other: str) -> None:
    base = networks.look_up_network(other, tmp_path)
    with pytest.raises(WeightsInvalid, match=rf"does not hold weights of {other}: its tensor '.*' is missing or"):
        networks.build_with_labels(base, ("cat", "dog"), imagenet)


def test_what_is_trained_can_be_served_and_begun_from_again(imagenet: Path, tmp_path: Path) -> None:
    base = networks.look_up_network(SMALL, tmp_path)
    module = networks.build_with_labels(base, ("cat", "dog"), imagenet)
    save_file(networks.collect_tensors(module), tmp_path / "best.safetensors")
    again = networks.build_with_labels(base, ("a", "b", "c"), tmp_path / "best.safetensors")
    assert torch.equal(again.network.state_dict()["stem.conv.weight"], module.network.state_dict()["stem.conv.weight"])


def test_an_architecture_may_be_named_as_the_library_does(tmp_path: Path) -> None:
    assert networks.look_up_network("torchvision/resnet50", tmp_path) is networks.look_up_network("resnet50", tmp_path)
    assert networks.resize_network(networks.look_up_network("resnet50", tmp_path), 448).resize == 464
    with pytest.raises(WeightsMissing, match="no tagger 'resnet51'"):
        networks.look_up_network("resnet51", tmp_path)


def test_a_head_begins_by_how_often_each_label_is_there(tmp_path: Path) -> None:
    module = networks.build_with_labels(networks.look_up_network(SMALL, tmp_path), ("often", "never"))
    networks.set_label_priors(module, [0.75, 0.0])
    head = networks.find_head(module)
    assert isinstance(head, torch.nn.Linear)
    assert torch.sigmoid(head.bias).tolist() == pytest.approx([0.75, 0.001], rel=1e-3)


def test_a_frozen_network_keeps_its_batch_statistics(tmp_path: Path) -> None:
    module = networks.build_with_labels(networks.look_up_network(SMALL, tmp_path), ("a",))
    networks.freeze_backbone(module)
    networks.set_training_mode(module, frozen=True)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    module(torch.randint(0, 255, (4, 64, 64, 3), dtype=torch.uint8))
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
    assert {name.split(".")[1] for name, each in module.named_parameters() if each.requires_grad} == {"head"}


def test_biases_and_scales_do_not_decay(tmp_path: Path) -> None:
    module = networks.build_with_labels(networks.look_up_network(SMALL, tmp_path), ("a",))
    decaying, others = networks.group_weights(module, 0.1)
    assert (decaying["weight_decay"], others["weight_decay"]) == (0.1, 0.0)
    counts = [sum(each.numel() for each in group["params"]) for group in (decaying, others)]  # type: ignore[attr-defined]
    assert sum(counts) == sum(each.numel() for each in module.parameters())
    assert counts[1] == sum(each.numel() for each in module.parameters() if each.ndim <= 1)


def test_a_mean_of_weights_follows_them() -> None:
    layer = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(layer.weight, 2.0)  # one at random may be where the rounding of a sum near 0 shows
    ema = Ema(layer, 0.5)
    torch.nn.init.constant_(layer.weight, 3.0)
    ema.update(layer, 1)
    assert ema.module.weight.item() == pytest.approx(2.9)  # the first step keeps a tenth
    ema.update(layer, 1000)
    assert ema.module.weight.item() == pytest.approx(2.95)
    assert not ema.module.weight.requires_grad


@given(st.integers(1, 200), st.integers(0, 50))
def test_a_rate_rises_once_and_falls_once(steps: int, warmup: int) -> None:
    rates = [Cosine(2.0, steps, warmup).rate(step) for step in range(steps)]
    top = int(np.argmax(rates))
    assert max(rates) <= 2.0
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    if warmup < steps:
        assert max(rates) == pytest.approx(2.0)


def test_a_rate_of_a_worked_example() -> None:
    cosine = Cosine(1.0, 6, 2)
    assert [round(cosine.rate(step), 4) for step in range(6)] == [0.5, 1.0, 1.0, 0.8536, 0.5, 0.1464]
