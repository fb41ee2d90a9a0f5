"""Webhooks over the API: who is told when a batch ends."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint
from flask import Response

from core.domain.ids import new_id
from web_tier.api.schemas.webhooks import NewWebhookOut, WebhookRequest, WebhooksOut, WebhookTestOut
from web_tier.catalog.webhooks import Attempt, Webhook
from web_tier.http.problems import Refused
from web_tier.http.request_parsing import json_body
from web_tier.http.responses import encode_json, json_response
from web_tier.services.container import Services
from web_tier.services.serializers import to_iso
from web_tier.services.webhook_client import new_secret
from web_tier.services.webhook_target import BadTarget


def blueprint(services: Services) -> APIBlueprint:
    api = APIBlueprint("webhooks", __name__, tag="webhooks")

    @api.get("/webhooks")
    @api.output(WebhooksOut)
    def list_webhooks() -> Response:
        """List webhooks, the newest first; none tells its secret"""
        return json_response({"webhooks": [_shown(webhook) for webhook in services.webhooks.listed()]})

    @api.post("/webhooks")
    @api.output(NewWebhookOut, status_code=201)
    @api.doc(responses={422: "Bad request, or nothing is sent to this address"})
    def create_webhook() -> Response:
        """Have batches' ends told to a URL

        Requests are signed as Standard Webhooks has it, with the secret in this answer, and sent again over three
        days until one is answered with 2xx. The same event may come twice, under the same webhook-id.
        """
        wanted = json_body(WebhookRequest)
        try:
            services.webhook_client.check(wanted.url)
        except BadTarget as error:
            raise Refused(422, f"url: {error}", errors={"url": [str(error)]}) from None
        webhook = services.webhooks.create(wanted.url, wanted.events, new_secret(), services.clock())
        return json_response({**_shown(webhook), "secret": webhook.secret}, 201)

    @api.delete("/webhooks/<webhook_id>")
    @api.output({}, status_code=204)
    @api.doc(responses={404: "No such webhook"})
    def delete_webhook(webhook_id: str) -> Response:
        """Remove a webhook, with all that it was still to be told"""
        services.webhooks.remove(webhook_id)
        return Response(status=204)

    @api.post("/webhooks/<webhook_id>/test")
    @api.output(WebhookTestOut)
    @api.doc(responses={404: "No such webhook"})
    def test_webhook(webhook_id: str) -> Response:
        """Send an event of the type webhook.test now, once, and say what came of it"""
        webhook = services.webhooks.webhook(webhook_id)
        now = services.clock()
        event = {"type": "webhook.test", "timestamp": to_iso(now), "data": {"webhook_id": webhook.id}}
        outcome = services.webhook_client.post(webhook.url, webhook.secret, new_id("msg", now), encode_json(event))
        services.webhooks.record_test(webhook.id, Attempt(outcome.status, outcome.error, services.clock()))
        return json_response({"status": outcome.status, "error": outcome.error})

    return api


def _shown(webhook: Webhook) -> dict[str, Any]:
    return {
        "id": webhook.id,
        "url": webhook.url,
        "events": webhook.events,
        "created_at": to_iso(webhook.created_at),
        "last_status": webhook.last_status,
        "last_error": webhook.last_error,
        "last_delivery_at": to_iso(webhook.last_delivery_at),
    }
