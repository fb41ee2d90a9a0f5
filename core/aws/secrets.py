"""Passwords that Secrets Manager keeps. They are asked for when they are needed, and written nowhere."""

from __future__ import annotations

import json

from core.aws.clients import Clients
from core.aws.errors import translate_errors
from core.errors import Misconfigured


def password_of(clients: Clients, arn: str) -> str:
    """The field `password` of a secret. Raises Misconfigured or Unavailable where it cannot be had."""
    with translate_errors(f"read the secret {arn}", "secretsmanager"):
        answer = clients.of("secretsmanager").get_secret_value(SecretId=arn)
    try:
        return str(json.loads(answer["SecretString"])["password"])
    except (KeyError, ValueError, TypeError):
        raise Misconfigured(f"the secret {arn} (setting aws.catalog_secret) holds no field password") from None
