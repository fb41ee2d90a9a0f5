"""The shapes of requests and answers about keys and sessions."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

Scope = Literal["read", "write", "operate"]


class KeyRequest(BaseModel):
    """`read` looks at everything, `write` uploads and changes, `operate` works the fleet, keys and webhooks."""

    model_config = ConfigDict(extra="forbid")
    name: Annotated[str, Field(min_length=1, max_length=100)]
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=3)] = ["read", "write"]


class KeyOut(BaseModel):
    """A key without the secret. `last_used_at` is true to the minute; times are ISO 8601 in UTC."""

    id: str
    name: str
    scopes: list[Scope]
    created_at: str
    last_used_at: str | None
    revoked_at: str | None


class NewKeyOut(KeyOut):
    """`key` is the secret; it is told here and never again."""

    key: str


class KeysOut(BaseModel):
    keys: list[KeyOut]


class SessionRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")
    key: Annotated[SecretStr, Field(min_length=1, max_length=200)]


class SessionOut(BaseModel):
    """`required`: this server asks for a key; `scopes`: what the caller may do."""

    required: bool
    signed_in: bool
    scopes: list[Scope]
