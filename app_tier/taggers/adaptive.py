"""Learns tags from people: a backbone gives each image's features, and a Bayes model over them gives the tags.

1. `learn` takes people's feedback, and adds it to the state in the store, which all workers share.
2. `infer` uses the latest state that was loaded. It checks for a newer one every `reload_s` seconds, by one request.
3. Photos without feedback count too: they tell what photos look like in general. Each worker sums them in memory, and
   stores the sums with the next feedback.
"""

from __future__ import annotations

import dataclasses
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image

from app_tier.adaptive import statistics
from app_tier.adaptive.bayes import Model
from app_tier.adaptive.state import MAX_TAGS, ImageFeedback, LearnedState
from app_tier.adaptive.statistics import Floats, Sums
from app_tier.adaptive.store import AdaptiveStore
from app_tier.engines import Engine, Pixels
from app_tier.models.networks import Network
from app_tier.models.request import ModelRequest
from app_tier.models.weights import Weights
from app_tier.taggers import FeedbackItem, Frame, Prediction, TaggerHandle
from app_tier.taggers.classifiers import default_options, load_engines, locate
from app_tier.taggers.imagenet import to_frame
from core import telemetry
from core.domain.messages import Tag, TagOptions
from core.errors import Unavailable, WeightsInvalid, WeightsMissing

CUMULATIVE = 0.9
"""The probability that the tags given for an image, and "none of them", reach together."""
_LEARN_AT_ONCE = 8
"""Images in one forward pass for learning: photos to be tagged wait for no more than this."""
_PACKAGED_BACKBONE = "efficientnet-lite0"
"""A backbone whose weights come in a pip package."""


def choose(request: ModelRequest) -> TaggerHandle:
    """Find the backbone and its weights. Raises WeightsMissing."""
    backbone = find_backbone(request)
    return TaggerHandle(request.name, partial(load, backbone, request), notice=backbone.notice)


@dataclass(frozen=True, slots=True)
class Backbone:
    """The network whose features are used. `notice` says, for people, why it is not the one of the settings."""

    network: Network
    weights: Weights
    notice: str = ""


def find_backbone(request: ModelRequest) -> Backbone:
    """Return the backbone that the pool's settings name, or on a single machine the packaged one instead.

    On AWS there is no replacement: workers could choose different backbones, and each would learn for itself. Raises
    WeightsMissing.
    """
    named = dataclasses.replace(request, name=request.pool.backbone)
    try:
        return Backbone(*locate(named))
    except WeightsMissing as missing:
        if request.settings.backend == "aws" or named.name == _PACKAGED_BACKBONE:
            raise
        pool = request.pool.model_copy(update={"weights": ""})
        packaged = locate(dataclasses.replace(request, name=_PACKAGED_BACKBONE, pool=pool))
        return Backbone(*packaged, notice=f"{request.name} uses the backbone {_PACKAGED_BACKBONE}: {missing}.")


def load(backbone: Backbone, request: ModelRequest) -> AdaptiveTagger:
    """Load the tagger. Raises WeightsInvalid if the network gives wrong outputs or the learned state is damaged."""
    network, sha256 = dataclasses.replace(backbone.network, head=False), backbone.weights.sha256
    engine = load_engines(network, backbone.weights, request.settings).fast
    dimensions = engine.infer(np.zeros((1, network.crop, network.crop, 3), np.uint8)).shape[1]
    store = AdaptiveStore(request.store, f"{network.file_name}-{sha256[:8]}", dimensions)
    reload_s = request.settings.worker.reload_s
    return AdaptiveTagger(network, engine, store, default_options(request.pool), time.monotonic, reload_s)


class AdaptiveTagger:
    """A tagger that learns. `infer` and `learn` may run at the same time, each in one thread.

    Both raise WeightsInvalid where the stored state is damaged, and Unavailable; `infer` only while it has no state.
    """

    name = "adaptive"

    def __init__(
        self,
        network: Network,
        engine: Engine,
        store: AdaptiveStore,
        defaults: TagOptions,
        clock: Callable[[], float],
        reload_s: float,
    ) -> None:
        """Load the learned state. `clock` is monotonic."""
        self.side = network.resize
        self.shape = (network.crop, network.crop, 3)
        self.engine_name = engine.name
        self._network = network
        self._engine = engine
        self._engine_lock = threading.Lock()
        self._store = store
        self._defaults = defaults
        self._current = _CurrentModel(store, clock, reload_s)
        self._seen = _SeenPhotos(store.dimensions)

    @property
    def best_batch(self) -> int:
        """The number of images in one call at which the engine is fastest now."""
        return self._engine.best_batch

    @property
    def most_at_once(self) -> int | None:
        """As many images in one call as there are."""
        return None

    @property
    def version(self) -> str:
        """The backbone, the first digits of its weights' hash, and how often the state was written."""
        return f"{self.name}@{self._store.backbone}.{self._current.version}"

    @property
    def labels(self) -> Sequence[str]:
        """The tags that are known now."""
        return self._current.model.names

    def preprocess(self, image: Image.Image) -> Frame:
        """Scale the image and crop its centre."""
        return to_frame(image, self._network)

    def infer(self, frames: Pixels, options: Sequence[TagOptions]) -> list[Prediction]:
        """Tag the frames by the latest state, and count them as photos without feedback."""
        self._current.refresh()
        features = self.features(frames)
        self._seen.add(features)
        model = self._current.model
        rows = model.probabilities(features)
        return [
            Prediction(choose_tags(row, model.names, asked, self._defaults))
            for row, asked in zip(rows, options, strict=True)
        ]

    def features(self, frames: Pixels) -> statistics.Features:
        """Return the (N, d) features of the frames."""
        with self._engine_lock:
            return statistics.to_features(self._engine.infer(frames))

    def has_features_of(self, image_id: str) -> bool:
        """Return whether this image's features are in the store. Raises Unavailable."""
        return self._store.has_features_of(image_id)

    def learn(self, items: Sequence[FeedbackItem]) -> None:
        """Compute the features of the items' frames, and learn them."""
        frames = [item.frame for item in items if item.frame is not None]
        groups = [frames[first : first + _LEARN_AT_ONCE] for first in range(0, len(frames), _LEARN_AT_ONCE)]
        rows = (row for group in groups for row in self.features(np.stack(group)))
        self.learn_features(
            [
                ImageFeedback(
                    item.feedback.image_id,
                    item.feedback.revision,
                    item.feedback.opinions,
                    None if item.frame is None else next(rows),
                )
                for item in items
            ]
        )

    def learn_features(self, items: Sequence[ImageFeedback]) -> None:
        """Learn feedback whose features are known. New feedback also stores the photos seen since the last time."""
        seen = self._seen.sums
        state = self._store.learn(items, seen)
        self._current.expire()
        if state is None:
            return
        self._seen.subtract(seen)
        telemetry.logger().info("learned from people", images=len(items), version=state.version)
        if left_out := state.tags_left_out(items):
            telemetry.logger().warning("new tags are left out: there are too many", count=len(left_out), most=MAX_TAGS)


class _CurrentModel:
    """The model of the latest state that was loaded, reloaded when the store has a newer one."""

    def __init__(self, store: AdaptiveStore, clock: Callable[[], float], reload_s: float) -> None:
        self._store = store
        self._clock = clock
        self._reload_s = reload_s
        self._checked_at = clock()
        state, self._etag = store.load()
        self._loaded = _to_model(state)

    @property
    def version(self) -> int:
        return self._loaded[0]

    @property
    def model(self) -> Model:
        return self._loaded[1]

    def expire(self) -> None:
        """Make the next `refresh` check the store."""
        self._checked_at = -math.inf

    def refresh(self) -> None:
        """Load a newer state if there is one. While the store does not answer, the present one is used."""
        now = self._clock()
        if now - self._checked_at < self._reload_s:
            return
        self._checked_at = now
        etag = self._etag
        try:
            etag = self._store.etag()
            if etag != self._etag:
                state, self._etag = self._store.load()
                self._loaded = _to_model(state)
        except Unavailable as error:
            telemetry.logger().warning("the latest learned state cannot be loaded now", why=str(error))
        except WeightsInvalid as error:
            self._etag = etag  # so that it is logged once
            telemetry.logger().error("the learned state is damaged: an earlier one is used", why=str(error))


def _to_model(state: LearnedState) -> tuple[int, Model]:
    """Return a state's version and model, which change together."""
    return state.version, state.model()


class _SeenPhotos:
    """The sums over photos that were tagged and not yet stored. Safe for several threads."""

    def __init__(self, dimensions: int) -> None:
        self._sums = Sums.empty(dimensions)
        self._lock = threading.Lock()

    @property
    def sums(self) -> Sums:
        with self._lock:
            return self._sums

    def add(self, features: statistics.Features) -> None:
        with self._lock:
            self._sums += Sums.of(features)

    def subtract(self, stored: Sums) -> None:
        with self._lock:
            self._sums -= stored


def choose_tags(shares: Floats, names: Sequence[str], asked: TagOptions, defaults: TagOptions) -> tuple[Tag, ...]:
    """Return the smallest set of tags that, with "none of them", reaches the cumulative probability; best first.

    `shares` has (tags + 1,) probabilities. The last is that of "none of them": it counts for the set, and is no tag.
    """
    reach = asked.cumulative or defaults.cumulative or CUMULATIVE
    order = np.argsort(-shares, kind="stable")
    before = np.cumsum(shares[order]) - shares[order]
    within = [index for index in (order if reach == 1 else order[before < reach]) if index < len(names)]
    least = asked.min_confidence if asked.min_confidence is not None else defaults.min_confidence or 0.0
    most = asked.top_k or defaults.top_k
    return tuple(
        Tag(name=names[index], confidence=round(min(1.0, float(shares[index])), 4))
        for index in within[:most]
        if shares[index] >= least
    )
