"""The results of a run in the store. They are counted by listing, and read only when a portion is complete."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from core.domain.messages import Result, decode_result
from core.errors import BadMessage, NotFound
from core.storage import layout
from core.storage.ports import ObjectStore

_READERS = 16


@dataclass(slots=True)
class _Counted:
    """Progress of a portion: it has all results at positions below `low`, and `beyond` more after a gap."""

    low: int = 0
    beyond: int = 0


class Results:
    """Counts and reads results. A count lists a portion from its first missing result: one request per thousand."""

    def __init__(self, store: ObjectStore, run_id: str) -> None:
        self._store = store
        self._run_id = run_id
        self._counts: dict[int, _Counted] = {}

    @property
    def counted(self) -> int:
        """Number of results in all portions that were counted and not forgotten."""
        return sum(counted.low + counted.beyond for counted in self._counts.values())

    def count(self, number: int) -> None:
        """Count a portion's results. Raises Unavailable."""
        counted = self._counts.setdefault(number, _Counted())
        low, beyond = counted.low, 0
        for position in self.positions(number, low):
            if position == low:
                low += 1
            else:
                beyond += 1
        counted.low, counted.beyond = low, beyond

    def complete(self, number: int, size: int) -> bool:
        """Return whether the last count found all results of a portion of this size."""
        return self._counts.get(number, _Counted()).low >= size

    def forget(self, number: int) -> None:
        """Drop a portion's count."""
        self._counts.pop(number, None)

    def positions(self, number: int, first: int) -> Iterator[int]:
        """Yield the positions of a portion's results from `first` on, in order. Raises Unavailable."""
        prefix = layout.result_key(self._run_id, f"{number:05}-").removesuffix(".json")
        after = layout.result_key(self._run_id, image_id(number, first - 1)) if first else ""
        for info in self._store.list(prefix, after):
            yield int(info.key.removeprefix(prefix).removesuffix(".json"))

    def read(self, number: int, uris: Sequence[str]) -> list[Result] | None:
        """Return the results of a complete portion in order, or None if one has disappeared. Raises Unavailable."""
        with ThreadPoolExecutor(_READERS) as readers:
            found = list(readers.map(lambda position: self._read(number, position, uris[position]), range(len(uris))))
        there = [result for result in found if result is not None]
        return there if len(there) == len(uris) else None

    def _read(self, number: int, position: int, uri: str) -> Result | None:
        id_ = image_id(number, position)
        try:
            return decode_result(self._store.get(layout.result_key(self._run_id, id_)).data)
        except NotFound:
            return None
        except BadMessage as error:
            return Result(batch_id=self._run_id, image_id=id_, name=uri, tagger="", error=str(error))


def image_id(number: int, position: int) -> str:
    """Return the id of the object at a position of a portion. Ids sort in listing order."""
    return f"{number:05}-{position:05}"
