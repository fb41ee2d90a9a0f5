"""Builds networks as torch modules with weights and normalisation. Imported only to run, convert or train one."""

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

_BOOKKEEPING = "num_batches_tracked"  # a training counter that many checkpoints omit


class PixelNetwork(nn.Module):
    """Scales, normalises and runs the network: (N, H, W, 3) uint8 pixels → (N, outputs) float32."""

    def __init__(self, network: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean).mul(255).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor(std).mul(255).reciprocal().view(1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the raw outputs."""
        mean, scale = self.get_buffer("mean"), self.get_buffer("scale")
        normalised = (pixels.permute(0, 3, 1, 2).to(mean.dtype) - mean) * scale
        outputs: Tensor = self.network(normalised.to(self.dtype))
        return outputs

    @property
    def dtype(self) -> torch.dtype:
        """The type of the network's weights. Normalisation stays in fp32: bf16 would round a mean of 123.675."""
        return next(self.network.parameters()).dtype


def build(network: Network, weights: Path) -> PixelNetwork:
    """Return the network in evaluation mode, fp32, on the CPU. Raises WeightsInvalid if the file does not fit it."""
    module = create_module(network.architecture, len(network.label_names) if network.head else 0)
    module.load_state_dict(_matching_state(network, weights, module), strict=False)
    return PixelNetwork(module.eval(), network.mean, network.std).eval()


def build_and_check(network: Network, weights: Path) -> tuple[PixelNetwork, Outputs]:
    """Return the network of `build`, and its outputs for the golden picture.

    Raises WeightsInvalid if the outputs are NaN or infinite, or as `build` does.
    """
    module = build(network, weights)
    with torch.inference_mode():
        outputs = module(torch.from_numpy(golden.pixels(network.crop)))[0]
    if not bool(torch.isfinite(outputs).all()):
        raise WeightsInvalid(f"{weights}: with these weights the network gives NaN or infinite outputs")
    return module, outputs.numpy()


def fold_batch_norms(network: nn.Module) -> nn.Module:
    """Return the network in evaluation mode with its batch norms folded into the convolutions before them.

    That saves a pass over each convolution's outputs, and a rounding. A network that torch cannot trace is returned as
    it is.
    """
    from torch.fx.experimental.optimization import fuse

    try:
        return fuse(network)
    except Exception:  # noqa: BLE001  # tracing runs the network's code with proxies, which raises nearly anything
        return network


def create_module(architecture: str, classes: int) -> nn.Module:
    """Return a network with random weights. With 0 classes it outputs the features below its last layer.

    Raises WeightsInvalid for an unsupported architecture.
    """
    library, _, name = architecture.partition("/")
    if library == "torchvision":
        return _create_torchvision(name, classes)
    import timm

    try:
        return timm.create_model(name, pretrained=False, num_classes=classes)
    except RuntimeError:
        raise WeightsInvalid(f"timm has no network {name!r}: https://huggingface.co/timm lists them") from None


def _create_torchvision(name: str, classes: int) -> nn.Module:
    if name != "resnet50":
        raise WeightsInvalid(f"of torchvision's networks only resnet50 is supported, not {name!r}: use timm's")
    module = torchvision.models.resnet50(num_classes=classes or 1)
    if not classes:
        module.fc = nn.Identity()
    return module  # type: ignore[no-any-return]  # torchvision is untyped


def read_tensors(weights: Path) -> dict[str, Tensor]:
    """Read a file of weights, safetensors or torch's own, as tensors by name. Unpickles nothing but tensors.

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
        raise WeightsInvalid(f"{weights} cannot be read as weights: it is not a mapping of names to tensors")
    return found


def _matching_state(network: Network, weights: Path, module: nn.Module) -> dict[str, Tensor]:
    """Return the checkpoint's tensors under the module's names. Raises WeightsInvalid if they do not match."""
    found = read_tensors(weights)
    expected = module.state_dict()
    if network.package:  # the package names tensors differently from timm, in the same order and shapes
        found = dict(zip(expected, found.values(), strict=False))
    found = {name: tensor.float() for name, tensor in found.items() if not name.endswith(_BOOKKEEPING)}
    expected = {name: tensor for name, tensor in expected.items() if not name.endswith(_BOOKKEEPING)}
    wrong = [name for name, tensor in expected.items() if name not in found or found[name].shape != tensor.shape]
    surplus = len(found) - len(expected) if network.head else 0  # without a head, the last layer's tensors are not used
    if wrong or surplus:
        what = f"its tensor {wrong[0]!r} is missing or has another shape" if wrong else "it has too many tensors"
        raise WeightsInvalid(f"{weights} does not hold weights of {network.name}: {what}")
    return found
