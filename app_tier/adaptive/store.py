"""Keeps learned states in the store: one for each backbone, which every worker updates by compare-and-set.

adaptive/BACKBONE/state                  the statistics, and the feedback that they contain
adaptive/BACKBONE/examples/IMAGE.npy     the features of an image with feedback; never changed, so that subtracting them
                                         undoes adding them exactly
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import numpy as np

from app_tier.adaptive.encoding import decode_state, encode_state
from app_tier.adaptive.state import ImageFeedback, LearnedState
from app_tier.adaptive.statistics import Features, Sums
from core.errors import NotFound, PreconditionFailed, WeightsInvalid
from core.storage import layout
from core.storage.documents import Document
from core.storage.ports import Etag, IfAbsent, ObjectStore

_READ_AT_ONCE = 8


def list_states(store: ObjectStore) -> list[tuple[str, LearnedState]]:
    """Return the learned state of each backbone. Raises WeightsInvalid for a damaged one, Unavailable."""
    backbones = {info.key.removeprefix(layout.ADAPTIVE).partition("/")[0] for info in store.list(layout.ADAPTIVE)}
    states = []
    for backbone in sorted(backbones):
        key = layout.adaptive_state_key(backbone)
        with suppress(NotFound):
            states.append((backbone, decode_state(store.get(key).data, key)))
    return states


class AdaptiveStore:
    """Reads and updates the learned state of one backbone, whose features have `dimensions` numbers.

    `pause` sleeps for a number of seconds.
    """

    def __init__(
        self, store: ObjectStore, backbone: str, dimensions: int, pause: Callable[[float], object] = time.sleep
    ) -> None:
        self.backbone = backbone
        self.dimensions = dimensions
        self._store = store
        self._key = layout.adaptive_state_key(backbone)
        self._document = Document(
            store,
            self._key,
            parse=lambda data: decode_state(data, self._key),
            serialise=encode_state,
            content_type="application/octet-stream",
            pause=pause,
        )

    def etag(self) -> Etag | None:
        """Return a value that changes whenever something is learned; None before that.

        Takes one request. Raises Unavailable.
        """
        return next((info.etag for info in self._store.list(self._key) if info.key == self._key), None)

    def load(self) -> tuple[LearnedState, Etag | None]:
        """Return the state and its etag. Raises WeightsInvalid for a damaged state, Unavailable."""
        found = self._document.read()
        return (self._check(None), None) if found is None else (self._check(found[0]), found[1])

    def has_features_of(self, image_id: str) -> bool:
        """Return whether the features of this image are kept. Raises Unavailable."""
        try:
            self._store.get(layout.adaptive_example_key(self.backbone, image_id))
        except NotFound:
            return False
        return True

    def learn(self, items: Sequence[ImageFeedback], seen: Sums | None = None) -> LearnedState | None:
        """Apply the new ones of the items, and store the state. Return it, or None if no item was new.

        In that case nothing is written, and `seen` is not added either. An item without features uses the stored
        features of its image. Raises WeightsInvalid for a damaged state, and Unavailable; then either all items were
        learned or none.
        """
        with ThreadPoolExecutor(_READ_AT_ONCE) as pool:
            complete = list(pool.map(self._with_features, items))

        def apply(stored: LearnedState | None) -> LearnedState | None:
            state = self._check(stored)
            new = [item for item in complete if not state.contains(item)]
            return replace(state.with_feedback(new, seen), version=state.version + 1) if new else None

        return self._document.update(apply)

    def _check(self, state: LearnedState | None) -> LearnedState:
        """Return the state, or an empty one. Raises WeightsInvalid if it has another number of features."""
        if state is None:
            return LearnedState.empty(self.dimensions)
        if state.statistics.dimensions != self.dimensions:
            raise WeightsInvalid(
                f"{self._key} in the store has {state.statistics.dimensions} features, and {self.backbone} gives "
                f"{self.dimensions}: delete it and learn again with `tagfleet adaptive fit DIR`"
            )
        return state

    def _with_features(self, item: ImageFeedback) -> ImageFeedback:
        """Return the item with its image's stored features. Store the item's own features if there are none."""
        key = layout.adaptive_example_key(self.backbone, item.image_id)
        if item.features is not None:
            stream = io.BytesIO()
            np.save(stream, item.features, allow_pickle=False)
            try:
                self._store.put(key, stream.getvalue(), condition=IfAbsent())
            except PreconditionFailed:
                return replace(item, features=self._read_features(key))
            return item
        return replace(item, features=self._read_features(key))

    def _read_features(self, key: str) -> Features | None:
        try:
            array = np.load(io.BytesIO(self._store.get(key).data), allow_pickle=False)
        except NotFound:
            return None
        except (ValueError, OSError, EOFError):
            array = None
        if array is None or array.shape != (self.dimensions,) or array.dtype != np.int16:
            raise WeightsInvalid(f"{key} in the store is damaged: delete it, and the image is read again")
        features: Features = array
        return features
