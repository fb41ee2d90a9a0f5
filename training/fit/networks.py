"""Build networks to train: a known architecture with ImageNet weights below a new head. Needs torch."""

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
"""A label without photos starts from this probability: a certain no would take long to unlearn."""


def known(architecture: str, cache: Path) -> Network:
    """Find a network by a tagger's name (`resnet50`) or an architecture: `torchvision/resnet50`, `timm/NAME`.

    Raises WeightsMissing for an unknown one, WeightsInvalid for one that was not made for ImageNet.
    """
    same = [each.name for each in NETWORKS.values() if each.architecture == architecture]
    return find_network(same[0] if same else architecture, cache)


def resized(base: Network, image_size: int) -> Network:
    """Return the network for crops of `image_size` pixels with the margin in proportion; 0 changes nothing."""
    size = image_size or base.crop
    return replace(base, crop=size, resize=max(size, math.floor(size * base.resize / base.crop)))


def with_labels(base: Network, labels: Sequence[str], weights: Path | None = None) -> PixelNetwork:
    """Build the network with a new head for these labels, over the weights in `weights` or random ones.

    The file's own head is ignored. Raises WeightsInvalid if the rest belongs to another network, or if the network
    does not take crops of this size.
    """
    module = modules.create_module(base.architecture, len(labels))
    _check_size(module, base)
    if weights is not None:
        below = modules.build(replace(base, head=False), weights).network.state_dict()
        module.load_state_dict(below, strict=False)
    return PixelNetwork(module, base.mean, base.std)


def head_of(module: PixelNetwork) -> nn.Module:
    """Return the last layer (or layers), with one output for each label."""
    inner = module.network
    classifier = getattr(inner, "get_classifier", None)  # timm's networks
    head = classifier() if classifier else inner.fc
    if not isinstance(head, nn.Module):
        raise WeightsInvalid(f"{type(inner).__name__} has no head of its own that could be trained for other labels")
    return head


def expect(module: PixelNetwork, frequencies: Sequence[float]) -> None:
    """Set the head's bias to how often each label occurs, so that the first steps need not learn that most do not.

    Lin et al. 2017, section 3.3, with each label's own prior. Heads other than a single linear layer stay unchanged.
    """
    head = head_of(module)
    if not isinstance(head, nn.Linear) or head.bias is None:
        return
    shares = torch.tensor(frequencies).clamp(_RAREST, 1 - _RAREST)
    with torch.no_grad():
        head.bias.copy_(torch.logit(shares))


def freeze(module: PixelNetwork) -> None:
    """Freeze everything but the head; `training_mode` freezes its batch statistics as well."""
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    for parameter in head_of(module).parameters():
        parameter.requires_grad_(True)


def training_mode(module: PixelNetwork, *, frozen: bool) -> None:
    module.train(not frozen)
    head_of(module).train()


def weight_groups(module: nn.Module, decay: float) -> list[dict[str, object]]:
    """Group the trainable parameters for an optimiser: weight decay applies to matrices and kernels only."""
    learned = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return [
        {"params": [each for each in learned if each.ndim > 1], "weight_decay": decay},
        {"params": [each for each in learned if each.ndim <= 1], "weight_decay": 0.0},
    ]


def tensors(module: PixelNetwork) -> dict[str, Tensor]:
    """Return the weights under their library's names, on the CPU, as they are published."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in module.network.state_dict().items()}


def _check_size(module: nn.Module, base: Network) -> None:
    module.eval()
    try:
        with torch.inference_mode():
            module(torch.zeros(1, 3, base.crop, base.crop))
    except (AssertionError, RuntimeError, ValueError):
        raise WeightsInvalid(
            f"{base.name} takes no images of {base.crop} × {base.crop} pixels: leave the image size to the network"
        ) from None
