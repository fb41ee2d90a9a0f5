"""What every call of the client needs: the transport, and answers read into what they mean."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from tagfleet.client.errors import BadAnswer
from tagfleet.client.model import Batch, Item
from tagfleet.client.transport import Transport

T = TypeVar("T")


class Calls:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    @property
    def url(self) -> str:
        return self._transport.url

    def _read(self, kind: Callable[[Any], T], data: Any) -> T:
        try:
            return kind(data)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadAnswer(f"{self.url} answered something unexpected ({error!r}): is it a Tagfleet?") from None

    def _pages(self, path: str, name: str, params: Mapping[str, Any]) -> Iterator[Any]:
        cursor: str | None = None
        while True:
            asked = {**params, "cursor": cursor} if cursor else params
            page = self._transport.json("GET", path, params=asked)
            yield from self._read(lambda data: data[name], page)
            cursor = page.get("next_cursor")
            if not cursor:
                return


def batch_id(batch: Batch | str) -> str:
    return batch if isinstance(batch, str) else batch.id


def image_id(image: Item | str) -> str:
    return image if isinstance(image, str) else image.image_id


def given(**params: Any) -> dict[str, Any]:
    """Only what was given."""
    return {name: value for name, value in params.items() if value is not None}
