"""Learns tags from people: the features of a backbone, and over them what people said of images so far."""

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
from app_tier.adaptive.memory import Memory
from app_tier.adaptive.state import MAX_TAGS, News, State
from app_tier.adaptive.statistics import Floats, Sums
from app_tier.engines import Engine, Pixels
from app_tier.models.networks import Network
from app_tier.models.weights import Weights
from app_tier.taggers import Choice, Frame, Lesson, Prediction, Wanted
from app_tier.taggers.classifiers import defaults_of, engines_of, located
from app_tier.taggers.imagenet import frame
from core import telemetry
from core.domain.messages import Tag, TagOptions
from core.errors import Unavailable, WeightsInvalid, WeightsMissing

CUMULATIVE = 0.9
"""Tags are given until they, and none of them, are together as likely as this."""
_AT_ONCE = 8
"""Images that are learned from: photos that are to be tagged wait no longer than for so many."""
_AT_HAND = "efficientnet-lite0"
"""A backbone whose weights come with a package."""


def choose(wanted: Wanted) -> Choice:
    """Raises WeightsMissing."""
    backbone = sees_by(wanted)
    return Choice(wanted.name, partial(load, backbone, wanted), notice=backbone.notice)


@dataclass(frozen=True, slots=True)
class Backbone:
    """`notice` says, for people, why it is not the wanted one."""

    network: Network
    weights: Weights
    notice: str = ""


def sees_by(wanted: Wanted) -> Backbone:
    """The backbone that the pool's settings name, else, on one machine, one that is always at hand.

    On AWS workers could differ in what they find, and what they learn would part. Raises WeightsMissing.
    """
    named = dataclasses.replace(wanted, name=wanted.pool.backbone)
    try:
        return Backbone(*located(named))
    except WeightsMissing as missing:
        if wanted.settings.backend == "aws" or named.name == _AT_HAND:
            raise
        pool = wanted.pool.model_copy(update={"weights": ""})
        at_hand = located(dataclasses.replace(wanted, name=_AT_HAND, pool=pool))
        return Backbone(*at_hand, notice=f"{wanted.name} sees photos by {_AT_HAND}: {missing}.")


def load(backbone: Backbone, wanted: Wanted) -> AdaptiveTagger:
    """Raises WeightsInvalid where the network does not compute what it should, or what was learned is damaged."""
    network, sha256 = dataclasses.replace(backbone.network, head=False), backbone.weights.sha256
    engine = engines_of(network, backbone.weights, wanted.settings).fast
    dimensions = engine.infer(np.zeros((1, network.crop, network.crop, 3), np.uint8)).shape[1]
    memory = Memory(wanted.store, f"{network.file_name}-{sha256[:8]}", dimensions)
    look_s = wanted.settings.worker.reload_s
    return AdaptiveTagger(network, engine, memory, defaults_of(wanted.pool), time.monotonic, look_s)


class AdaptiveTagger:
    """`clock` is monotonic. `infer` and `learn` may be called at once, each by one thread.

    What it knows when it tags is what others had learned `look_s` ago at the latest; each look is one request.
    Raises WeightsInvalid where what was learned before is damaged, Unavailable.
    """

    name = "adaptive"
    most_at_once: int | None = None

    def __init__(
        self,
        network: Network,
        engine: Engine,
        memory: Memory,
        defaults: TagOptions,
        clock: Callable[[], float],
        look_s: float,
    ) -> None:
        self.side = network.resize
        self.shape = (network.crop, network.crop, 3)
        self.engine_name = engine.name
        self._network = network
        self._engine = engine
        self._engine_free = threading.Lock()
        self._memory = memory
        self._defaults = defaults
        self._clock = clock
        self._look_s = look_s
        self._looked_at = clock()
        self._seen = Sums.none(memory.dimensions)
        self._seen_free = threading.Lock()
        state, self._etag = memory.load()
        self._learned = _Learned(state)

    @property
    def version(self) -> str:
        """The backbone, the first digits of its weights' hash, and how often anything was learned."""
        return f"{self.name}@{self._memory.backbone}.{self._learned.version}"

    @property
    def labels(self) -> Sequence[str]:
        return self._learned.model.names

    def preprocess(self, image: Image.Image) -> Frame:
        return frame(image, self._network)

    def infer(self, frames: Pixels, options: Sequence[TagOptions]) -> list[Prediction]:
        self._look()
        found = self.features(frames)
        with self._seen_free:
            self._seen += Sums.of(found)
        model = self._learned.model
        rows = model.probabilities(found)
        return [
            Prediction(chosen(row, model.names, wanted, self._defaults))
            for row, wanted in zip(rows, options, strict=True)
        ]

    def features(self, frames: Pixels) -> statistics.Features:
        """(N, d)"""
        with self._engine_free:
            return statistics.features(self._engine.infer(frames))

    def remembers(self, image_id: str) -> bool:
        return self._memory.remembers(image_id)

    def learn(self, lessons: Sequence[Lesson]) -> None:
        news = [News(one.feedback.image_id, one.feedback.revision, one.feedback.opinions) for one in lessons]
        frames = [lesson.frame for lesson in lessons if lesson.frame is not None]
        if frames:
            portions = [frames[first : first + _AT_ONCE] for first in range(0, len(frames), _AT_ONCE)]
            rows = (row for portion in portions for row in self.features(np.stack(portion)))
            news = [
                one if lesson.frame is None else dataclasses.replace(one, features=next(rows))
                for one, lesson in zip(news, lessons, strict=True)
            ]
        self.teach(news)

    def teach(self, news: Sequence[News]) -> None:
        """`learn`, by features. The photos seen since the last time are told too, where there is any news."""
        with self._seen_free:
            seen = self._seen
        state = self._memory.teach(news, seen)
        self._looked_at = -math.inf
        if state is None:
            return
        with self._seen_free:
            self._seen -= seen
        telemetry.logger().info("learned from people", images=len(news), version=state.version)
        if left_out := state.left_out(news):
            telemetry.logger().warning("tags that are new are left out", count=len(left_out), most=MAX_TAGS)

    def _look(self) -> None:
        """Use what was learned since, here or by other workers. While that cannot be had, what is known is used."""
        now = self._clock()
        if now - self._looked_at < self._look_s:
            return
        self._looked_at = now
        etag = self._etag
        try:
            etag = self._memory.etag()
            if etag != self._etag:
                state, self._etag = self._memory.load()
                self._learned = _Learned(state)
        except Unavailable as error:
            telemetry.logger().warning("what was learned since cannot be had now", why=str(error))
        except WeightsInvalid as error:
            self._etag = etag  # said once
            telemetry.logger().error("what was learned before is used", why=str(error))


class _Learned:
    """A state's model and its version: changed together."""

    def __init__(self, state: State) -> None:
        self.version = state.version
        self.model: Model = state.model()


def chosen(shares: Floats, names: Sequence[str], wanted: TagOptions, defaults: TagOptions) -> tuple[Tag, ...]:
    """The smallest set of tags, and of none, that together are likely enough; the most likely first.

    `shares` is (tags + 1,), its last that of no known tag: it takes its place in the set, and is no tag.
    """
    reach = wanted.cumulative or defaults.cumulative or CUMULATIVE
    order = np.argsort(-shares, kind="stable")
    before = np.cumsum(shares[order]) - shares[order]
    within = [index for index in (order if reach == 1 else order[before < reach]) if index < len(names)]
    least = wanted.min_confidence if wanted.min_confidence is not None else defaults.min_confidence or 0.0
    most = wanted.top_k or defaults.top_k
    return tuple(
        Tag(name=names[index], confidence=round(min(1.0, float(shares[index])), 4))
        for index in within[:most]
        if shares[index] >= least
    )
