"""The base of the client's groups of operations: a transport, and parsing of answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from tagfleet.client._errors import BadAnswer
from tagfleet.client._model import Batch, Item
from tagfleet.client._transport import Transport

T = TypeVar("T")


class Calls:
    """Operations that share one transport."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    @property
    def url(self) -> str:
        return self._transport.url

    def _parse(self, kind: Callable[[Any], T], data: Any) -> T:
        """Return `kind(data)`. Raises BadAnswer if the answer does not have the expected form."""
        try:
            return kind(data)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadAnswer(f"{self.url} answered something unexpected ({error!r}): is it a Tagfleet?") from None

    def _pages(self, path: str, name: str, params: Mapping[str, Any]) -> Iterator[Any]:
        """Yield the entries `name` of all pages."""
        cursor: str | None = None
        while True:
            asked = {**params, "cursor": cursor} if cursor else params
            page = self._transport.json("GET", path, params=asked)
            yield from self._parse(lambda data: data[name], page)
            cursor = page.get("next_cursor")
            if not cursor:
                return


def to_batch_id(batch: Batch | str) -> str:
    """Return the id of a batch that is given as an id or an object."""
    return batch if isinstance(batch, str) else batch.id


def to_image_id(image: Item | str) -> str:
    """Return the id of an image that is given as an id or an object."""
    return image if isinstance(image, str) else image.image_id


def drop_none(**params: Any) -> dict[str, Any]:
    """Return the arguments that are not None."""
    return {name: value for name, value in params.items() if value is not None}
