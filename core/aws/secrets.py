"""Reads passwords from Secrets Manager when they are needed, and never writes them to disk."""

from __future__ import annotations

import json

from core.aws.clients import Clients
from core.aws.errors import translate_errors
from core.errors import Misconfigured


def password_of(clients: Clients, arn: str) -> str:
    """Return the field `password` of a secret. Raises Misconfigured or Unavailable if it cannot be read."""
    with translate_errors(f"read the secret {arn}", "secretsmanager"):
        answer = clients.of("secretsmanager").get_secret_value(SecretId=arn)
    try:
        return str(json.loads(answer["SecretString"])["password"])
    except (KeyError, ValueError, TypeError):
        raise Misconfigured(f"the secret {arn} (setting aws.catalog_secret) holds no field password") from None
