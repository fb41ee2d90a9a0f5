"""Webhooks: URLs that receive an event when a batch ends."""

from __future__ import annotations

from typing import Any

from flask import Blueprint

from core.domain.ids import new_id
from web_tier.api.schemas.webhooks import NewWebhookOut, WebhookRequest, WebhooksOut, WebhookTestOut
from web_tier.catalog.webhooks import Attempt, Webhook
from web_tier.http.problems import Refused
from web_tier.http.responses import encode_json
from web_tier.http.routes import Answer, Resource
from web_tier.services.container import Services
from web_tier.services.serializers import to_iso
from web_tier.services.webhook_client import new_secret
from web_tier.services.webhook_target import BadTarget

_NO_WEBHOOK = {404: "No such webhook"}


def blueprint(services: Services) -> Blueprint:
    webhooks = Resource("webhooks", tag="webhooks")

    @webhooks.route("GET /webhooks", scope="operate", answer=WebhooksOut)
    def list_webhooks() -> dict[str, Any]:
        """List webhooks, newest first, without their secrets"""
        return {"webhooks": [_serialize(webhook) for webhook in services.webhooks.list_all()]}

    @webhooks.route(
        "POST /webhooks",
        scope="operate",
        body=WebhookRequest,
        answer=Answer(NewWebhookOut, 201, secret=True),
        errors={422: "The request is not as described, or nothing is sent to this address"},
    )
    def create_webhook(body: WebhookRequest) -> dict[str, Any]:
        """Send an event to a URL whenever a batch ends

        Requests are signed according to Standard Webhooks, with the secret in this answer, and are repeated over three
        days until one is answered with 2xx. The same event may arrive twice, with the same webhook-id.
        """
        try:
            services.webhook_client.check(body.url)
        except BadTarget as error:
            raise Refused(422, f"url: {error}", errors={"url": [str(error)]}) from None
        webhook = services.webhooks.create(body.url, body.events, new_secret(), services.clock())
        return {**_serialize(webhook), "secret": webhook.secret}

    @webhooks.route("DELETE /webhooks/<webhook_id>", scope="operate", answer=Answer(status=204), errors=_NO_WEBHOOK)
    def delete_webhook(webhook_id: str) -> None:
        """Remove a webhook, with the events that still wait for it"""
        services.webhooks.remove(webhook_id)

    @webhooks.route("POST /webhooks/<webhook_id>/test", scope="operate", answer=WebhookTestOut, errors=_NO_WEBHOOK)
    def test_webhook(webhook_id: str) -> dict[str, Any]:
        """Send one event of the type webhook.test now, and tell how it was answered"""
        webhook = services.webhooks.get(webhook_id)
        now = services.clock()
        event = {"type": "webhook.test", "timestamp": to_iso(now), "data": {"webhook_id": webhook.id}}
        outcome = services.webhook_client.post(webhook.url, webhook.secret, new_id("msg", now), encode_json(event))
        services.webhooks.record_test(webhook.id, Attempt(outcome.status, outcome.error, services.clock()))
        return {"status": outcome.status, "error": outcome.error}

    return webhooks.blueprint


def _serialize(webhook: Webhook) -> dict[str, Any]:
    return {
        "id": webhook.id,
        "url": webhook.url,
        "events": webhook.events,
        "created_at": to_iso(webhook.created_at),
        "last_status": webhook.last_status,
        "last_error": webhook.last_error,
        "last_delivery_at": to_iso(webhook.last_delivery_at),
    }
