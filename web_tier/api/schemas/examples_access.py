"""Examples of the description's shapes about keys, sessions and webhooks."""

from __future__ import annotations

from typing import Any

_KEY: dict[str, Any] = {
    "id": "key_01mcc5rm004v6w8x0y2z3a",
    "name": "the camera",
    "scopes": ["read", "write"],
    "created_at": "2027-01-15T07:58:00.000+00:00",
    "last_used_at": "2027-01-15T08:00:00.000+00:00",
    "revoked_at": None,
}
_WEBHOOK: dict[str, Any] = {
    "id": "whk_01mcc5rm005b7c9d1e3f4g",
    "url": "https://example.org/tagfleet",
    "events": ["batch.completed", "batch.cancelled"],
    "created_at": "2027-01-15T07:59:00.000+00:00",
    "last_status": 204,
    "last_error": None,
    "last_delivery_at": "2027-01-15T08:00:11.020+00:00",
}
_SECRET = "tf_EXAMPLE-EXAMPLE-EXAMPLE-EXAMPLE-EXAMPLE-EXA"  # noqa: S105  # opens nothing

EXAMPLES: dict[str, dict[str, Any]] = {
    "KeyRequest": {"name": _KEY["name"], "scopes": _KEY["scopes"]},
    "KeysOut": {"keys": [_KEY]},
    "NewKeyOut": {**_KEY, "last_used_at": None, "key": _SECRET},
    "SessionRequest": {"key": _SECRET},
    "SessionOut": {"required": True, "signed_in": True, "scopes": _KEY["scopes"]},
    "WebhookRequest": {"url": _WEBHOOK["url"], "events": _WEBHOOK["events"]},
    "WebhooksOut": {"webhooks": [_WEBHOOK]},
    "NewWebhookOut": {
        **_WEBHOOK,
        "last_status": None,
        "last_delivery_at": None,
        "secret": "whsec_RXhhbXBsZUV4YW1wbGVFeGFtcGxlRXhhbXBsZUV4YW0=",
    },
    "WebhookTestOut": {"status": 204, "error": None},
}
