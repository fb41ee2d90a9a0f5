"""Networks to be trained: a known architecture, ImageNet weights below a new head. Imported only where torch is."""

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
"""A label that no photo shows starts from this probability: a sure no would need a long way back."""


def look_up_network(architecture: str, cache: Path) -> Network:
    """By a tagger's name (`resnet50`), or an architecture: `torchvision/resnet50`, `timm/NAME`.

    Raises WeightsMissing for one that nobody knows, WeightsInvalid for one that was not made for ImageNet.
    """
    same = [each.name for each in NETWORKS.values() if each.architecture == architecture]
    return find_network(same[0] if same else architecture, cache)


def resize_network(base: Network, image_size: int) -> Network:
    """The network for cuts of `image_size` pixels, the margin around them in proportion; 0 leaves it as it is."""
    size = image_size or base.crop
    return replace(base, crop=size, resize=max(size, math.floor(size * base.resize / base.crop)))


def build_with_labels(base: Network, labels: Sequence[str], weights: Path | None = None) -> PixelNetwork:
    """The network with a new head for these labels, over the weights of `weights` or, without, random ones.

    The head of the file is left out, whatever it was for. Raises WeightsInvalid if the rest is of another network, and
    for a network that takes no cuts of this size.
    """
    module = modules.create_module(base.architecture, len(labels))
    _check_size(module, base)
    if weights is not None:
        below = modules.build(replace(base, head=False), weights).network.state_dict()
        module.load_state_dict(below, strict=False)
    return PixelNetwork(module, base.mean, base.std)


def find_head(module: PixelNetwork) -> nn.Module:
    """Its last layer (or layers), which give one output for each label."""
    inner = module.network
    classifier = getattr(inner, "get_classifier", None)  # timm's networks
    head = classifier() if classifier else inner.fc
    if not isinstance(head, nn.Module):
        raise WeightsInvalid(f"{type(inner).__name__} has no head of its own that could be trained for other labels")
    return head


def set_label_priors(module: PixelNetwork, frequencies: Sequence[float]) -> None:
    """Start the head from how often each label is there, so that the first steps need not learn that most are not.

    Lin et al. 2017, section 3.3, with each label's own prior. Heads that are no single linear layer are left alone.
    """
    head = find_head(module)
    if not isinstance(head, nn.Linear) or head.bias is None:
        return
    shares = torch.tensor(frequencies).clamp(_RAREST, 1 - _RAREST)
    with torch.no_grad():
        head.bias.copy_(torch.logit(shares))


def freeze_backbone(module: PixelNetwork) -> None:
    """Leave all but the head as it is from now on; `set_training_mode` keeps its batch statistics as well."""
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    for parameter in find_head(module).parameters():
        parameter.requires_grad_(True)


def set_training_mode(module: PixelNetwork, *, frozen: bool) -> None:
    module.train(not frozen)
    find_head(module).train()


def group_weights(module: nn.Module, decay: float) -> list[dict[str, object]]:
    """What is learned, for an optimiser: weight decay is for matrices and kernels, not for biases and scales."""
    learned = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return [
        {"params": [each for each in learned if each.ndim > 1], "weight_decay": decay},
        {"params": [each for each in learned if each.ndim <= 1], "weight_decay": 0.0},
    ]


def collect_tensors(module: PixelNetwork) -> dict[str, Tensor]:
    """Under its library's names, on the CPU, as they are published."""
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
