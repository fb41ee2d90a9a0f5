"""Tagfleet's Python client. It needs only HTTP and httpx, so you may copy it into a project without the rest of
Tagfleet.

    with Client() as client:
        batch = client.create_batch()
        client.upload(batch, Path("holiday").glob("*.jpg"))
        client.close(batch)
        for item in client.stream(batch):
            print(item.name, [tag.name for tag in item.tags])

Everything public is imported here; the other modules are private, except `webhooks` for servers that receive them.
"""

from tagfleet.client import webhooks
from tagfleet.client._api import Client
from tagfleet.client._errors import (
    BadAnswer,
    ClientError,
    Conflict,
    ConnectionLost,
    Denied,
    Disconnected,
    Missing,
    Refused,
    Unreachable,
    UnreadableFile,
)
from tagfleet.client._model import Batch, Edit, Item, Tag, TagCount
from tagfleet.client._transport import Patience

__all__ = [
    "BadAnswer",
    "Batch",
    "Client",
    "ClientError",
    "Conflict",
    "ConnectionLost",
    "Denied",
    "Disconnected",
    "Edit",
    "Item",
    "Missing",
    "Patience",
    "Refused",
    "Tag",
    "TagCount",
    "Unreachable",
    "UnreadableFile",
    "webhooks",
]
