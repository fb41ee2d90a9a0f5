"""Build networks for training: a known architecture with ImageNet weights and a new head. Requires torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from app_tier.engines import modules
from app_tier.engines.modules import PixelNetwork
from app_tier.models.network_lookup import find_network
from app_tier.models.networks import NETWORKS, Network
from core.errors import WeightsInvalid

_RAREST = 1e-3
"""Lowest starting probability of a label. From a lower one, a rare label would need many steps to recover."""


def look_up_network(architecture: str, cache: Path) -> Network:
    """Return a network by a tagger's name (`resnet50`) or an architecture (`torchvision/resnet50`, `timm/NAME`).

    Raises WeightsMissing if the name is unknown, WeightsInvalid if the network was not trained on ImageNet.
    """
    same = [each.name for each in NETWORKS.values() if each.architecture == architecture]
    return find_network(same[0] if same else architecture, cache)


def resize_network(base: Network, image_size: int) -> Network:
    """Return the network for crops of `image_size` pixels, with a margin in proportion; 0 changes nothing."""
    size = image_size or base.crop
    return replace(base, crop=size, resize=max(size, math.floor(size * base.resize / base.crop)))


def build_with_labels(base: Network, labels: Sequence[str], weights: Path | None = None) -> PixelNetwork:
    """Build the network with a new head for these labels. The backbone comes from `weights`; None: random weights.

    The head in the file is ignored. Raises WeightsInvalid if the backbone in the file is of another network, or if the
    network does not accept crops of this size.
    """
    module = modules.create_module(base.architecture, len(labels))
    _check_size(module, base)
    if weights is not None:
        below = modules.build(replace(base, head=False), weights).network.state_dict()
        module.load_state_dict(below, strict=False)
    return PixelNetwork(module, base.mean, base.std)


def find_head(module: PixelNetwork) -> nn.Module:
    """Return the last layer or layers, which give one output per label. Raises WeightsInvalid if there are none."""
    inner = module.network
    classifier = getattr(inner, "get_classifier", None)  # timm's networks
    head = classifier() if classifier else inner.fc
    if not isinstance(head, nn.Module):
        raise WeightsInvalid(
            f"{type(inner).__name__} has no separate head to train for other labels; choose another network"
        )
    return head


def set_label_priors(module: PixelNetwork, frequencies: Sequence[float]) -> None:
    """Set the head's bias to the labels' frequencies (0..1), so that the first steps need not learn them.

    This is Lin et al. 2017, section 3.3, with a prior per label. It skips a head that is not a single linear layer.
    """
    head = find_head(module)
    if not isinstance(head, nn.Linear) or head.bias is None:
        return
    shares = torch.tensor(frequencies).clamp(_RAREST, 1 - _RAREST)
    with torch.no_grad():
        head.bias.copy_(torch.logit(shares))


def freeze_backbone(module: PixelNetwork) -> None:
    """Freeze all weights except the head's. `set_training_mode` also keeps the batch statistics."""
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    for parameter in find_head(module).parameters():
        parameter.requires_grad_(True)


def set_training_mode(module: PixelNetwork, *, frozen: bool) -> None:
    """Switch the network to training mode; if `frozen`, only its head."""
    module.train(not frozen)
    find_head(module).train()


def group_weights(module: nn.Module, decay: float) -> list[dict[str, object]]:
    """Return the optimiser's parameter groups: matrices and kernels get weight decay, biases and scales do not."""
    learned = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return [
        {"params": [each for each in learned if each.ndim > 1], "weight_decay": decay},
        {"params": [each for each in learned if each.ndim <= 1], "weight_decay": 0.0},
    ]


def collect_tensors(module: PixelNetwork) -> dict[str, Tensor]:
    """Return the weights as they are published: on the CPU, under the names of the network's library."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in module.network.state_dict().items()}


def _check_size(module: nn.Module, base: Network) -> None:
    module.eval()
    try:
        with torch.inference_mode():
            module(torch.zeros(1, 3, base.crop, base.crop))
    except (AssertionError, RuntimeError, ValueError):
        raise WeightsInvalid(
            f"{base.name} does not accept images of {base.crop} × {base.crop} pixels: leave out --image-size"
        ) from None
