"""The shapes of what is told of taggers and models."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Model(BaseModel):
    pool: str
    wanted: str
    serves: str
    state: str
    notice: str


class ModelsOut(BaseModel):
    models: list[Model]


class DefaultRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")
    version: Annotated[str, Field(pattern=r"^[0-9a-f]{8}$")]


class Registered(BaseModel):
    """One version of a model; `labels` is how many it has, `card` Markdown, `default` whether its name means it."""

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
    models: list[Registered]
    damaged: list[str]
