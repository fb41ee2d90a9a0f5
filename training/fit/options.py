"""The options of a training."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

LossName = Literal["bce", "focal", "asl"]
SamplerName = Literal["plain", "weighted", "oversample"]
Precision = Literal["off", "bf16", "fp16"]

Rate = Annotated[float, Field(gt=0, le=1e30)]  # more makes a step that no float32 holds
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


class Options(BaseModel):
    """Everything that decides the outcome of a training, beside its data and its first weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: str = "resnet50"
    """A tagger's name, `torchvision/NAME` or `timm/NAME`."""
    image_size: Annotated[int, Field(ge=0, le=2048)] = 0
    """Pixels; 0: what the network was made for."""
    loss: LossName = "asl"
    sampler: SamplerName = "plain"
    augment: bool = True
    """Whether to augment training images; the next five say how far (`training.data.augmentation.Strength`)."""
    smallest_cut: Annotated[float, Field(gt=0, le=1)] = 0.35
    mirror: Annotated[float, Field(ge=0, le=1)] = 0.5
    degrees: Annotated[float, Field(ge=0, le=180)] = 10.0
    operations: Annotated[int, Field(ge=0, le=14)] = 2
    magnitude: Annotated[int, Field(ge=0, le=30)] = 7
    epochs: Count = 20
    batch: Count = 32
    """Images of one forward pass in one process."""
    accumulate: Count = 1
    """Forward passes of one step."""
    lr: Rate = 2e-4
    weight_decay: NotNegative = 1e-2
    warmup: NotNegative = 1.0
    """Epochs over which the learning rate rises."""
    clip: NotNegative = 1.0
    """Clip the gradient's norm to this; 0: never."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.997
    """Decay per step of the mean of the weights; 0: no mean."""
    amp: Precision = "bf16"
    frozen_backbone: bool = False
    patience: Annotated[int, Field(ge=0)] = 5
    """Stop after this many epochs without a better mAP; 0: never."""
    seed: Annotated[int, Field(ge=0)] = 0
    strict: bool = False
    """Stop at the first image that cannot be read."""
