"""Webhooks over the API: who is told when a batch ends."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint
from flask import Response

from core.domain.ids import new_id
from web_tier.api.schemas.webhooks import NewWebhookOut, WebhookRequest, WebhooksOut, WebhookTestOut
from web_tier.catalog.webhooks import Webhook
from web_tier.http.problems import Refused
from web_tier.http.request_parsing import json_body
from web_tier.services.container import Parts
from web_tier.services.serializers import answer, encoded, iso
from web_tier.services.webhook_client import new_secret
from web_tier.services.webhook_target import BadTarget


def blueprint(own: Parts) -> APIBlueprint:
    api = APIBlueprint("webhooks", __name__, tag="webhooks")

    @api.get("/webhooks")
    @api.output(WebhooksOut)
    def list_webhooks() -> Response:
        """List webhooks, the newest first; none tells its secret"""
        return answer({"webhooks": [_shown(webhook) for webhook in own.webhooks.listed()]})

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
            own.postman.check(wanted.url)
        except BadTarget as error:
            raise Refused(422, f"url: {error}", errors={"url": [str(error)]}) from None
        webhook = own.webhooks.create(wanted.url, wanted.events, new_secret(), own.clock())
        return answer({**_shown(webhook), "secret": webhook.secret}, 201)

    @api.delete("/webhooks/<webhook_id>")
    @api.output({}, status_code=204)
    @api.doc(responses={404: "No such webhook"})
    def delete_webhook(webhook_id: str) -> Response:
        """Remove a webhook, with all that it was still to be told"""
        own.webhooks.remove(webhook_id)
        return Response(status=204)

    @api.post("/webhooks/<webhook_id>/test")
    @api.output(WebhookTestOut)
    @api.doc(responses={404: "No such webhook"})
    def test_webhook(webhook_id: str) -> Response:
        """Send an event of the type webhook.test now, once, and say what came of it"""
        webhook = own.webhooks.webhook(webhook_id)
        now = own.clock()
        event = {"type": "webhook.test", "timestamp": iso(now), "data": {"webhook_id": webhook.id}}
        outcome = own.postman.post(webhook.url, webhook.secret, new_id("msg", now), encoded(event))
        own.webhooks.noted(webhook.id, outcome, own.clock())
        return answer({"status": outcome.status, "error": outcome.error})

    return api


def _shown(webhook: Webhook) -> dict[str, Any]:
    return {
        "id": webhook.id,
        "url": webhook.url,
        "events": webhook.events,
        "created_at": iso(webhook.created_at),
        "last_status": webhook.last_status,
        "last_error": webhook.last_error,
        "last_delivery_at": iso(webhook.last_delivery_at),
    }
