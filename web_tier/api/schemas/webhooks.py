"""The shapes of requests and answers about webhooks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from web_tier.services.webhook_target import MAX_URL

Event = Literal["batch.completed", "batch.cancelled", "batch.expired"]


class WebhookRequest(BaseModel):
    """`url` begins with https:// and names a host of the open internet, unless the server's settings allow others."""

    model_config = ConfigDict(extra="forbid")
    url: Annotated[str, Field(min_length=1, max_length=MAX_URL)]
    events: Annotated[list[Event], Field(min_length=1, max_length=3)] = ["batch.completed", "batch.cancelled"]


class WebhookOut(BaseModel):
    """`last_status` is that of the last answer; null, with the reason in `last_error`, where none came."""

    id: str
    url: str
    events: list[Event]
    created_at: str
    last_status: int | None
    last_error: str | None
    last_delivery_at: str | None


class NewWebhookOut(WebhookOut):
    """`secret` checks the signatures of Standard Webhooks; it is told here and never again."""

    secret: str


class WebhooksOut(BaseModel):
    webhooks: list[WebhookOut]


class WebhookTestOut(BaseModel):
    status: int | None
    error: str | None
