"""Tagfleet's Python client. It knows only HTTP: it may be copied into a project that has nothing else of Tagfleet.

with Client() as client:
    batch = client.create_batch()
    client.upload(batch, Path("holiday").glob("*.jpg"))
    client.close(batch)
    for item in client.stream(batch):
        print(item.name, [tag.name for tag in item.tags])
"""

from tagfleet.client.api import Client
from tagfleet.client.errors import (
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
from tagfleet.client.model import Batch, Edit, Item, Tag, TagCount
from tagfleet.client.transport import Patience

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
]
