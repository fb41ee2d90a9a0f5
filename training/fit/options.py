"""The options of a training, with their ranges and defaults."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

LossName = Literal["bce", "focal", "asl"]
SamplerName = Literal["plain", "weighted", "oversample"]
Precision = Literal["off", "bf16", "fp16"]

Rate = Annotated[float, Field(gt=0, le=1e30)]  # a higher rate overflows float32 in one step
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


class Options(BaseModel):
    """Everything that determines the result of a training, except its data and initial weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: str = "resnet50"
    """A tagger's name, `torchvision/NAME` or `timm/NAME`."""
    image_size: Annotated[int, Field(ge=0, le=2048)] = 0
    """Pixels; 0 is the network's own size."""
    loss: LossName = "asl"
    sampler: SamplerName = "plain"
    augment: bool = True
    """Whether to augment training images. The next five set the strength: `training.data.augmentation.Strength`."""
    smallest_cut: Annotated[float, Field(gt=0, le=1)] = 0.35
    mirror: Annotated[float, Field(ge=0, le=1)] = 0.5
    degrees: Annotated[float, Field(ge=0, le=180)] = 10.0
    operations: Annotated[int, Field(ge=0, le=14)] = 2
    magnitude: Annotated[int, Field(ge=0, le=30)] = 7
    epochs: Count = 20
    batch: Count = 32
    """Images per forward pass in one process."""
    accumulate: Count = 1
    """Forward passes per optimiser step."""
    lr: Rate = 2e-4
    weight_decay: NotNegative = 1e-2
    warmup: NotNegative = 1.0
    """Epochs over which the learning rate rises."""
    clip: NotNegative = 1.0
    """Maximum norm of the gradient; 0: no limit."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.997
    """Decay of the moving average of the weights, per step; 0: no average."""
    amp: Precision = "bf16"
    frozen_backbone: bool = False
    patience: Annotated[int, Field(ge=0)] = 5
    """Stop after this many epochs without a better mAP; 0: never."""
    seed: Annotated[int, Field(ge=0)] = 0
    strict: bool = False
    """Stop at the first unreadable image."""
