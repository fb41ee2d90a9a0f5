"""Verify webhooks that Tagfleet sends (https://www.standardwebhooks.com). For servers that receive them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from tagfleet.client._errors import ClientError

_PREFIX = "whsec_"


class NotGenuine(ClientError):
    """The service did not send this request, or sent it too long ago."""


def verify(
    secret: str,
    headers: Mapping[str, str],
    body: bytes,
    *,
    tolerance_s: float = 300.0,
    clock: Callable[[], float] = time.time,
) -> Any:
    """Return the event in a webhook's `body`. Pass the bytes exactly as they arrived. Raises NotGenuine.

    A delivery may arrive more than once, always with the same `webhook-id`. Creating the webhook returned `secret`.
    `clock` gives Unix seconds.
    """
    said = {name.lower(): value for name, value in headers.items()}
    try:
        id, timestamp, signatures = (said[f"webhook-{name}"] for name in ("id", "timestamp", "signature"))
        sent_at = int(timestamp)
    except KeyError as missing:
        raise NotGenuine(f"the request has no header {missing}") from None
    except ValueError:
        raise NotGenuine("the request's webhook-timestamp is not a number") from None
    if abs(clock() - sent_at) > tolerance_s:
        raise NotGenuine(
            f"the request was signed more than {tolerance_s:.0f} s from now: it is old, or one clock is wrong"
        )
    signed = b".".join((id.encode(), timestamp.encode(), body))
    expected = hmac.new(_key(secret), signed, hashlib.sha256).digest()
    if not any(hmac.compare_digest(expected, given) for given in map(_decoded, signatures.split())):
        raise NotGenuine("the request is not signed with this webhook's secret")
    return json.loads(body)


def _key(secret: str) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        raise ValueError(f"this is not a webhook's secret: a secret looks like {_PREFIX}…") from None


def _decoded(signature: str) -> bytes:
    """Return the signature's bytes; empty for a version that this code does not know."""
    version, _, encoded = signature.partition(",")
    try:
        return base64.b64decode(encoded, validate=True) if version == "v1" else b""
    except binascii.Error:
        return b""
