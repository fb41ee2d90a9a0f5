"""The results of a run in the store: packs, and objects with a single result.

They are counted by listing, and read only when a portion is complete.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from core.domain.messages import Result
from core.errors import NotFound
from core.storage import packs
from core.storage.packs import StoredResults, image_id
from core.storage.ports import ObjectStore

_READERS = 16


@dataclass(slots=True)
class _Counted:
    """Progress of a portion: the objects found so far by their keys, and the positions that have results in them. All
    below `low` have.
    """

    objects: dict[str, StoredResults] = field(default_factory=dict)
    done: set[int] = field(default_factory=set)
    low: int = 0

    def add(self, found: StoredResults) -> None:
        self.objects[found.key] = found
        self.done.update(found.positions)

    def raise_low(self) -> None:
        while self.low in self.done:
            self.low += 1


class Results:
    """Counts and reads results. A count lists a portion's packs, and single results from the first missing one on: a
    request for each thousand objects.
    """

    def __init__(self, store: ObjectStore, run_id: str) -> None:
        self._store = store
        self._run_id = run_id
        self._counts: dict[int, _Counted] = {}

    @property
    def counted(self) -> int:
        """Number of images with results in all portions that were counted and not forgotten."""
        return sum(len(counted.done) for counted in self._counts.values())

    def count(self, number: int) -> None:
        """Count a portion's results. Raises Unavailable."""
        counted = self._counts.setdefault(number, _Counted())
        for found in packs.list_results(self._store, self._run_id, number, after=counted.low):
            counted.add(found)
        counted.raise_low()

    def complete(self, number: int, size: int) -> bool:
        """Return whether the counts found all results of a portion of this size."""
        return self._counts.get(number, _Counted()).low >= size

    def forget(self, number: int) -> None:
        """Drop a portion's count."""
        self._counts.pop(number, None)

    def positions(self, number: int) -> set[int]:
        """Return the positions of a portion that have results. Raises Unavailable."""
        return {at for found in packs.list_results(self._store, self._run_id, number) for at in found.positions}

    def read(self, number: int, uris: Sequence[str]) -> list[Result] | None:
        """Return the results of a portion that was counted, in order; None if one has disappeared. Raises Unavailable.

        Of several results of one image the best counts (`packs.rank`), whichever object it is in.
        """
        objects = list(self._counts[number].objects.values())
        best: dict[int, tuple[tuple[object, ...], Result]] = {}
        damaged: set[int] = set()
        with ThreadPoolExecutor(_READERS) as readers:
            read = readers.map(partial(self._read, number), objects)
            for found, results in zip(objects, read, strict=True):
                if results is None:
                    continue
                damaged.update(set(found.positions) - results.keys())
                for position, result in results.items():
                    order = (*packs.rank(result), found.key)
                    if position not in best or order > best[position][0]:
                        best[position] = order, result
        chosen: list[Result] = []
        for position, uri in enumerate(uris):
            if position in best:
                chosen.append(best[position][1])
            elif position in damaged:
                chosen.append(self._damaged(image_id(number, position), uri))
            else:
                return None
        return chosen

    def _read(self, number: int, found: StoredResults) -> dict[int, Result] | None:
        """Return the results of an object by position; None if it has disappeared.

        Damaged results are left out, and those of images that its key does not name.
        """
        named = {image_id(number, position): position for position in found.positions}
        try:
            data = self._store.get(found.key).data
        except NotFound:
            return None
        return {
            named[result.image_id]: result
            for result in packs.read_pack(data)
            if result.batch_id == self._run_id and result.image_id in named
        }

    def _damaged(self, id_: str, uri: str) -> Result:
        return Result(batch_id=self._run_id, image_id=id_, name=uri, tagger="", error=f"{uri}: its result is damaged")
