"""The networks as torch modules, weights and normalisation inside; imported only to run or convert one."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError

import torch
import torchvision
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from app_tier.engines import Outputs, golden
from app_tier.models.networks import Network
from core.errors import WeightsInvalid

_BOOKKEEPING = "num_batches_tracked"  # of training; many checkpoints leave it out


class PixelNetwork(nn.Module):
    """(N, H, W, 3) uint8 pixels → (N, outputs) float32: scales, normalises and runs the network."""

    def __init__(self, network: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean).mul(255).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor(std).mul(255).reciprocal().view(1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        mean, scale = self.get_buffer("mean"), self.get_buffer("scale")
        normalised = (pixels.permute(0, 3, 1, 2).to(mean.dtype) - mean) * scale
        outputs: Tensor = self.network(normalised.to(self.dtype))
        return outputs

    @property
    def dtype(self) -> torch.dtype:
        """Of the network; normalisation stays in fp32, where a mean of 123.675 is no 123.5."""
        return next(self.network.parameters()).dtype


def build(network: Network, weights: Path) -> PixelNetwork:
    """The network in evaluation mode, fp32, on the CPU. Raises WeightsInvalid if the file does not fit it."""
    module = bare(network.architecture, len(network.label_names) if network.head else 0)
    module.load_state_dict(_state(network, weights, module), strict=False)
    return PixelNetwork(module.eval(), network.mean, network.std).eval()


def tried(network: Network, weights: Path) -> tuple[PixelNetwork, Outputs]:
    """The network of `build`, and its outputs for the golden picture. Raises WeightsInvalid if they are not finite."""
    module = build(network, weights)
    with torch.inference_mode():
        outputs = module(torch.from_numpy(golden.pixels(network.crop)))[0]
    if not bool(torch.isfinite(outputs).all()):
        raise WeightsInvalid(f"{weights}: the network computes no finite numbers with these weights")
    return module, outputs.numpy()


def bare(architecture: str, classes: int) -> nn.Module:
    """A network with random weights; with no classes it gives the features below its last layer.

    Raises WeightsInvalid for an architecture that the library does not have.
    """
    library, _, name = architecture.partition("/")
    if library == "torchvision":
        return _of_torchvision(name, classes)
    import timm

    try:
        return timm.create_model(name, pretrained=False, num_classes=classes)
    except RuntimeError:
        raise WeightsInvalid(f"timm has no network {name!r}: https://huggingface.co/timm lists them") from None


def _of_torchvision(name: str, classes: int) -> nn.Module:
    if name != "resnet50":
        raise WeightsInvalid(f"of torchvision's networks resnet50 alone is known here, not {name!r}: ask timm for it")
    module = torchvision.models.resnet50(num_classes=classes or 1)
    if not classes:
        module.fc = nn.Identity()
    return module  # type: ignore[no-any-return]  # torchvision is untyped


def tensors(weights: Path) -> dict[str, Tensor]:
    """By name, as the file has them: safetensors, or torch's own, of which nothing but tensors is ever unpickled.

    Raises WeightsInvalid.
    """
    try:
        if weights.suffix == ".safetensors":
            return load_file(weights)
        found = torch.load(weights, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError, UnpicklingError) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsInvalid(f"{weights} cannot be read as weights: {why}") from None
    if not (isinstance(found, dict) and all(isinstance(tensor, Tensor) for tensor in found.values())):
        raise WeightsInvalid(f"{weights} cannot be read as weights: it holds other things than tensors by name")
    return found


def _state(network: Network, weights: Path, module: nn.Module) -> dict[str, Tensor]:
    """The checkpoint's tensors under the module's names."""
    found = tensors(weights)
    wanted = module.state_dict()
    if network.package:  # the package's names differ from timm's; its order and shapes do not
        found = dict(zip(wanted, found.values(), strict=False))
    found = {name: tensor.float() for name, tensor in found.items() if not name.endswith(_BOOKKEEPING)}
    wanted = {name: tensor for name, tensor in wanted.items() if not name.endswith(_BOOKKEEPING)}
    wrong = [name for name, tensor in wanted.items() if name not in found or found[name].shape != tensor.shape]
    surplus = len(found) - len(wanted) if network.head else 0  # features leave the last layer's tensors over
    if wrong or surplus:
        what = f"its tensor {wrong[0]!r} is missing or of another shape" if wrong else "it has tensors too many"
        raise WeightsInvalid(f"{weights} does not hold weights of {network.name}: {what}")
    return found
