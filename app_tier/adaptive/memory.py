"""Where what was learned is kept: one state for each backbone in the store, changed by compare-and-set by any worker.

adaptive/BACKBONE/state                  the statistics, and of which opinions they are
adaptive/BACKBONE/examples/IMAGE.npy     the features of an image that was learned from, never changed: what is
                                         subtracted again is to the last bit what was added
"""

from __future__ import annotations

import io
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import numpy as np

from app_tier.adaptive.files import decoded, encoded
from app_tier.adaptive.state import News, State
from app_tier.adaptive.statistics import Features, Sums
from core.errors import NotFound, PreconditionFailed, Unavailable, WeightsInvalid
from core.storage import layout
from core.storage.ports import Etag, IfAbsent, IfMatch, ObjectStore

_TRIES = 100
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.02, 1.0
_AT_ONCE = 8


def states(store: ObjectStore) -> list[tuple[str, State]]:
    """What was learned over each backbone, by its name. Raises WeightsInvalid for a damaged one, Unavailable."""
    backbones = {info.key.removeprefix(layout.ADAPTIVE).partition("/")[0] for info in store.list(layout.ADAPTIVE)}
    found = []
    for backbone in sorted(backbones):
        key = layout.adaptive_state_key(backbone)
        with suppress(NotFound):
            found.append((backbone, decoded(store.get(key).data, key)))
    return found


class Memory:
    """Of features with `dimensions` numbers, made by the backbone of this name; no two backbones share one.

    `pause` waits so many seconds.
    """

    def __init__(
        self, store: ObjectStore, backbone: str, dimensions: int, pause: Callable[[float], object] = time.sleep
    ) -> None:
        self.backbone = backbone
        self._store = store
        self.dimensions = dimensions
        self._key = layout.adaptive_state_key(backbone)
        self._pause = pause

    def etag(self) -> Etag | None:
        """Changes whenever something was learned; None before that. One request. Raises Unavailable."""
        return next((info.etag for info in self._store.list(self._key) if info.key == self._key), None)

    def load(self) -> tuple[State, Etag | None]:
        """Raises WeightsInvalid for a damaged state, Unavailable."""
        try:
            blob = self._store.get(self._key)
        except NotFound:
            return State.none(self.dimensions), None
        state = decoded(blob.data, self._key)
        if state.statistics.dimensions != self.dimensions:
            raise WeightsInvalid(
                f"{self._key} in the store is of {state.statistics.dimensions} features, and {self.backbone} gives "
                f"{self.dimensions}: delete it and learn anew with `tagfleet adaptive fit DIR`"
            )
        return state, blob.etag

    def remembers(self, image_id: str) -> bool:
        """Whether the features of this image are kept. Raises Unavailable."""
        try:
            self._store.get(layout.adaptive_example_key(self.backbone, image_id))
        except NotFound:
            return False
        return True

    def teach(self, lessons: Sequence[News], seen: Sums | None = None) -> State | None:
        """Learn what is new of the lessons: it is safe when this returns. News of an image that comes again is no news.

        None where there is none: then nothing is written, and what was `seen` is not told either. A lesson without
        features is learned by those that are kept of its image. Raises WeightsInvalid for a damaged state, Unavailable;
        then nothing was learned, or all of it.
        """
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            whole = list(pool.map(self._with_features, lessons))
        for attempt in range(_TRIES):
            state, etag = self.load()
            fresh = [news for news in whole if not state.knows(news)]
            if not fresh:
                return None
            after = state.taught(fresh, seen)
            after = replace(after, version=state.version + 1)
            try:
                self._store.put(self._key, encoded(after), condition=IfMatch(etag) if etag else IfAbsent())
            except PreconditionFailed:  # another worker was faster: theirs and ours
                longest = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**attempt)
                self._pause(random.uniform(0, longest))  # noqa: S311  # jitter, or the same ones meet again
            else:
                return after
        raise Unavailable(f"{self._key} in the store changes too often to be written: it is tried again")

    def _with_features(self, news: News) -> News:
        """The first features that were stored of an image are its features, whoever made them."""
        key = layout.adaptive_example_key(self.backbone, news.image_id)
        if news.features is not None:
            stream = io.BytesIO()
            np.save(stream, news.features, allow_pickle=False)
            try:
                self._store.put(key, stream.getvalue(), condition=IfAbsent())
            except PreconditionFailed:
                return replace(news, features=self._features(key))
            return news
        return replace(news, features=self._features(key))

    def _features(self, key: str) -> Features | None:
        try:
            found = np.load(io.BytesIO(self._store.get(key).data), allow_pickle=False)
        except NotFound:
            return None
        except (ValueError, OSError, EOFError):
            found = None
        if found is None or found.shape != (self.dimensions,) or found.dtype != np.int16:
            raise WeightsInvalid(f"{key} in the store is damaged: delete it, and the image is looked at again")
        features: Features = found
        return features
