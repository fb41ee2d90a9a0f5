"""Passwords that Secrets Manager keeps. They are asked for when they are needed, and written nowhere."""

from __future__ import annotations

import json

from core.aws.clients import Clients
from core.aws.errors import explained
from core.errors import Misconfigured


def password_of(arn: str, region: str = "") -> str:
    """The field `password` of a secret. Raises Misconfigured where it cannot be had, Unavailable where waiting helps."""
    with explained(f"read the secret {arn}", "secretsmanager"):
        answer = Clients(region, threads=1).of("secretsmanager").get_secret_value(SecretId=arn)
    try:
        return str(json.loads(answer["SecretString"])["password"])
    except (KeyError, ValueError, TypeError):
        raise Misconfigured(f"the secret {arn} (setting aws.catalog_secret) holds no field password") from None
