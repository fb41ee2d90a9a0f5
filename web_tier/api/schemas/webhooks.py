"""Schemas of webhooks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from web_tier.api.schemas import RequestBody, example, example_of
from web_tier.services.webhook_target import MAX_URL

Event = Literal["batch.completed", "batch.cancelled", "batch.expired"]


class WebhookRequest(RequestBody):
    """`url` begins with https:// and names a host on the public internet, unless the server's settings allow others."""

    model_config = example({"url": "https://example.org/tagfleet", "events": ["batch.completed", "batch.cancelled"]})
    url: Annotated[str, Field(min_length=1, max_length=MAX_URL)]
    events: Annotated[list[Event], Field(min_length=1, max_length=3)] = Field(["batch.completed", "batch.cancelled"])


class WebhookOut(BaseModel):
    """`last_status` is the status of the last answer; null if none came, and `last_error` gives the reason."""

    model_config = example(
        {
            "id": "whk_01mcc5rm005b7c9d1e3f4g",
            "url": "https://example.org/tagfleet",
            "events": ["batch.completed", "batch.cancelled"],
            "created_at": "2027-01-15T07:59:00.000+00:00",
            "last_status": 204,
            "last_error": None,
            "last_delivery_at": "2027-01-15T08:00:11.020+00:00",
        }
    )
    id: str
    url: str
    events: list[Event]
    created_at: str
    last_status: int | None
    last_error: str | None
    last_delivery_at: str | None


class NewWebhookOut(WebhookOut):
    """`secret` checks the signatures of Standard Webhooks. This is the only answer that contains it."""

    model_config = example(
        {
            **example_of(WebhookOut),
            "last_status": None,
            "last_delivery_at": None,
            "secret": "whsec_RXhhbXBsZUV4YW1wbGVFeGFtcGxlRXhhbXBsZUV4YW0=",
        }
    )
    secret: str


class WebhooksOut(BaseModel):
    model_config = example({"webhooks": [example_of(WebhookOut)]})
    webhooks: list[WebhookOut]


class WebhookTestOut(BaseModel):
    model_config = example({"status": 204, "error": None})
    status: int | None
    error: str | None
