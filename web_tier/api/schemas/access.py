"""Schemas of keys and sessions."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field, SecretStr

from web_tier.api.schemas import RequestBody, example, example_of

KeyScope = Literal["read", "write", "operate"]

_SECRET = "tf_EXAMPLE-EXAMPLE-EXAMPLE-EXAMPLE-EXAMPLE-EXA"  # noqa: S105  # opens nothing


class KeyRequest(RequestBody):
    """`read` looks at everything, `write` uploads and changes, `operate` controls the fleet, keys and webhooks."""

    model_config = example({"name": "the camera", "scopes": ["read", "write"]})
    name: Annotated[str, Field(min_length=1, max_length=100)]
    scopes: Annotated[list[KeyScope], Field(min_length=1, max_length=3)] = Field(["read", "write"])


class KeyOut(BaseModel):
    """A key without its secret. `last_used_at` is accurate to the minute; times are ISO 8601 in UTC."""

    model_config = example(
        {
            "id": "key_01mcc5rm004v6w8x0y2z3a",
            "name": "the camera",
            "scopes": ["read", "write"],
            "created_at": "2027-01-15T07:58:00.000+00:00",
            "last_used_at": "2027-01-15T08:00:00.000+00:00",
            "revoked_at": None,
        }
    )
    id: str
    name: str
    scopes: list[KeyScope]
    created_at: str
    last_used_at: str | None
    revoked_at: str | None


class NewKeyOut(KeyOut):
    """`key` is the secret. This is the only answer that contains it."""

    model_config = example({**example_of(KeyOut), "last_used_at": None, "key": _SECRET})
    key: str


class KeysOut(BaseModel):
    model_config = example({"keys": [example_of(KeyOut)]})
    keys: list[KeyOut]


class SessionRequest(RequestBody):
    model_config = example({"key": _SECRET})
    key: Annotated[SecretStr, Field(min_length=1, max_length=200)]


class SessionOut(BaseModel):
    """`required`: this server asks for a key; `scopes`: what the caller may do."""

    model_config = example({"required": True, "signed_in": True, "scopes": ["read", "write"]})
    required: bool
    signed_in: bool
    scopes: list[KeyScope]
