"""Schemas of taggers and of the models in the registry."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from web_tier.api.schemas import RequestBody, example, example_of


class Model(BaseModel):
    """The tagger of one pool: the one its settings want, the one it serves, and why where they differ (`notice`)."""

    pool: str
    wanted: str
    serves: str
    state: str
    notice: str


class ModelsOut(BaseModel):
    model_config = example(
        {
            "models": [
                {
                    "pool": "resnet50",
                    "wanted": "resnet50",
                    "serves": "resnet50@1dd8f080",
                    "state": "ready",
                    "notice": "",
                }
            ]
        }
    )
    models: list[Model]


class DefaultRequest(RequestBody):
    model_config = example({"version": "1a2b3c4d"})
    version: Annotated[str, Field(pattern=r"^[0-9a-f]{8}$")]


class Registered(BaseModel):
    """One version of a model.

    `default` says whether the model's name means this version, `labels` how many labels it has; `card` is Markdown.
    """

    model_config = example(
        {
            "reference": "coco80@1a2b3c4d",
            "name": "coco80",
            "version": "1a2b3c4d",
            "default": True,
            "family": "multilabel",
            "architecture": "torchvision/resnet50",
            "labels": 80,
            "bytes": 94_600_000,
            "metrics": {"mAP": 0.76},
            "trained_on": "COCO train2017, 118,287 images",
            "licence": "CC BY 4.0",
            "card": "# coco80\nWhat it was trained on, and what it was measured to do.",
            "created_at": "2027-01-15T08:00:00.000+00:00",
        }
    )
    reference: str
    name: str
    version: str
    default: bool
    family: Literal["imagenet", "multilabel"]
    architecture: str
    labels: int
    bytes: int
    metrics: dict[str, float]
    trained_on: str
    licence: str
    card: str
    created_at: str | None


class RegisteredOut(BaseModel):
    """`damaged` says what is wrong with the manifests that can't be read."""

    model_config = example({"models": [example_of(Registered)], "damaged": []})
    models: list[Registered]
    damaged: list[str]
