"""Makes the int8 form of a network, and measures it as a worker serves it, on photos that did not calibrate it.

int8 is fast and sometimes wrong. Photos whose two highest outputs are close, the near-ties, are therefore computed
again as they would be without int8 ("settled"). The calibration photos choose how close, the evaluation photos judge.
"""

from __future__ import annotations

import itertools
import logging
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from app_tier.engines import Engine, Engines, Outputs, Pixels, golden, openvino
from app_tier.engines.int8 import Int8Figures, Int8Form
from app_tier.engines.settling import SettlingEngine, margins, with_settling
from app_tier.models.network_lookup import is_network
from app_tier.models.networks import NEAR_TIE, Network
from app_tier.models.request import ModelRequest
from app_tier.models.weights import Weights
from app_tier.taggers import classifiers, registered
from app_tier.taggers.imagenet import to_frame
from config.settings import PoolSettings, Settings
from core.errors import BadImage, DataInvalid, WeightsInvalid
from core.imaging.decode import Decoder
from core.storage.models import Registry
from core.storage.ports import ObjectStore

FLIP_CHANCE = 0.25
"""A photo is settled if the chance that rounding has swapped its two highest outputs is at least this."""
MOST_SETTLED = 0.2
"""The largest share of the calibration photos that may be settled. With more, little of int8's speed is left."""
_ROUNDS = 5
_BATCH = 8

if TYPE_CHECKING:
    import openvino as ov

Tell = Callable[[str], None]
"""Shows one line of progress to people."""


@dataclass(frozen=True, slots=True)
class EvaluationPhoto:
    """A photo to measure on. `label` is the index of its correct output, None if unknown."""

    path: Path
    label: int | None = None


@dataclass(frozen=True, slots=True)
class PhotoSet:
    """Disjoint photos for calibration and for evaluation, and the decoder for them."""

    calibration: Sequence[Path]
    evaluation: Sequence[EvaluationPhoto]
    decoder: Decoder


@dataclass(frozen=True, slots=True)
class Serving:
    """How workers run the network without int8, on `threads` threads: in bf16 if `bf16`, else in fp32."""

    threads: int
    bf16: bool


def find_model(name: str, settings: Settings, store: ObjectStore) -> tuple[Network, Weights]:
    """Return a single-label network, known or of the registry, and its weights, as workers would find them.

    Raises WeightsMissing, WeightsInvalid for a multilabel network, Unavailable.
    """
    pools = (pool for pool in settings.pools.values() if pool.tagger == name)
    if is_network(name):
        return classifiers.locate(ModelRequest(name, next(pools, PoolSettings(tagger=name)), settings, store))
    registry = Registry(store)
    manifest = registry.find(name)
    if manifest.family != "imagenet":
        raise WeightsInvalid(f"{manifest.reference} may have several correct labels, and int8 is judged by the top one")
    path = registry.fetch(manifest, settings.cache / "weights")
    return registered.to_network(manifest), registered.to_weights(manifest, path)


def read_frames(paths: Iterable[Path], network: Network, decoder: Decoder, tell: Tell) -> Iterator[tuple[Path, Pixels]]:
    """Yield the photos as frames. Files that are not images are reported and skipped."""
    for path in paths:
        try:
            yield path, to_frame(decoder.show(path.read_bytes()), network)
        except (BadImage, OSError) as error:
            tell(f"{path} was skipped: {error}")


def make(
    network: Network,
    converted: openvino.ConvertedNetwork,
    photos: PhotoSet,
    folder: Path,
    *,
    serving: Serving,
    tell: Tell,
) -> Int8Form:
    """Write the int8 form of a converted network into `folder`, and measure it.

    Raises DataInvalid if no photo is left to calibrate or to measure with.
    """
    frames = [pixels for _, pixels in read_frames(photos.calibration, network, photos.decoder, tell)]
    if not frames:
        raise DataInvalid("no calibration photo can be read")
    tell(f"quantising {network.name} with {len(frames)} photos")
    calibration = np.stack(frames)
    form = quantise(converted, calibration, folder, serving.threads)
    fp32 = openvino.OpenVinoEngine(converted, serving.threads, bf16=False)
    int8 = openvino.OpenVinoEngine(form, serving.threads, bf16=serving.bf16)
    near_tie = choose_near_tie(_infer_all(int8, calibration), _infer_all(fp32, calibration))
    engines: dict[str, Engine] = {"fp32": fp32}
    without_int8: Engine = fp32
    if serving.bf16:
        bf16 = openvino.OpenVinoEngine(converted, serving.threads, bf16=True)
        _infer_all(bf16, calibration[: 2 * _BATCH])  # its first batches allocate its buffers
        without_int8 = with_settling(Engines(bf16, lambda: fp32, network.near_tie or NEAR_TIE))
        engines["bf16 settled"] = without_int8
    settling = SettlingEngine(Engines(int8, lambda: without_int8, near_tie))
    engines |= {"int8": int8, "int8 settled": settling}
    tell(f"measuring {', '.join(engines)} in turn on {len(photos.evaluation)} photos")
    labels = {photo.path: photo.label for photo in photos.evaluation}
    pictures = ((pixels, labels[path]) for path, pixels in read_frames(labels, network, photos.decoder, tell))
    measured = _measure(engines, pictures)
    figures = compute_figures(
        measured, calibrated_on=len(frames), near_tie=near_tie, settled=settling.near_ties.settled
    )
    return Int8Form(form, figures)


def quantise(
    converted: openvino.ConvertedNetwork, frames: Pixels, folder: Path, threads: int
) -> openvino.ConvertedNetwork:
    """Write the int8 form into `folder`, by NNCF's post-training quantisation with (N, height, width, 3) frames.

    The first and the last layer stay in floating point: they are little of the work, and much of the rounding.
    """
    os.environ.setdefault("NNCF_CI", "1")  # switches NNCF's telemetry off; read at the import
    import nncf
    import openvino as ov

    logging.getLogger("nncf").setLevel(logging.ERROR)
    model = ov.Core().read_model(converted.model)
    calibration = nncf.Dataset(range(len(frames)), lambda index: frames[index : index + 1])
    quantised = nncf.quantize(
        model,
        calibration,
        subset_size=len(frames),
        target_device=nncf.TargetDevice.CPU,
        ignored_scope=nncf.IgnoredScope(names=_first_and_last(model)),
    )
    int8 = openvino.ConvertedNetwork(folder, int8=True)
    ov.save_model(quantised, int8.model, compress_to_fp16=False)
    picture = golden.pixels(frames.shape[1])
    np.save(folder / openvino.GOLDEN, openvino.OpenVinoEngine(int8, threads, bf16=False).infer(picture)[0])
    return int8


def _first_and_last(model: ov.Model) -> list[str]:
    layers = [node for node in model.get_ordered_ops() if node.get_type_name() in ("Convolution", "MatMul")]
    return sorted({node.get_friendly_name() for node in (layers[:1] + layers[-1:])})


def choose_near_tie(int8: Outputs, fp32: Outputs) -> float:
    """Return the margin below which int8's two highest outputs are a near-tie, from (N, labels) outputs of one network.

    The difference between these two outputs has an error e, which int8's rounding causes. With e taken as normal with
    mean 0, a margin m has the wrong sign with the probability Φ(-m / rms(e)), and is a near-tie if that is FLIP_CHANCE
    or more. All photos tell rms(e); counting the few that flip would need many more. At most MOST_SETTLED of the photos
    are near-ties.
    """
    near = margins(int8)
    rows, (second, first) = np.arange(len(int8)), np.argsort(int8, axis=1)[:, -2:].T
    error = near - (fp32[rows, first] - fp32[rows, second])
    margin = -NormalDist().inv_cdf(FLIP_CHANCE) * float(np.sqrt(np.mean(error**2)))
    return min(margin, float(np.sort(near)[int(MOST_SETTLED * len(near))]))


@dataclass(frozen=True, slots=True)
class Measurement:
    """What engines, by name, made of the same photos in turn."""

    outputs: dict[str, Outputs]
    """(N, labels)."""
    labels: Sequence[int | None]
    """The correct output of each photo, None if unknown."""
    seconds: dict[str, npt.NDArray[np.float64]]
    """Of each round."""
    images: npt.NDArray[np.int_]
    """In each round."""


def compute_figures(measured: Measurement, *, calibrated_on: int, near_tie: float, settled: int) -> Int8Figures:
    """Return the figures of a form, of whose photos `settled` were computed again."""
    top = {name: values.argmax(axis=1) for name, values in measured.outputs.items()}
    known = [number for number, label in enumerate(measured.labels) if label is not None]
    labels = np.array([measured.labels[number] for number in known])
    right = {name: found[known] == labels for name, found in top.items()} if known else {}
    seconds = measured.seconds
    without_int8 = seconds.get("bf16 settled", seconds["fp32"])
    return Int8Figures(
        calibrated_on=calibrated_on,
        photos=len(measured.labels),
        labelled=len(known),
        top1={name: float(hits.mean()) for name, hits in right.items()},
        lost=int((right["fp32"] & ~right["int8 settled"]).sum()) if known else 0,
        won=int((~right["fp32"] & right["int8 settled"]).sum()) if known else 0,
        agreement={name: float((found == top["fp32"]).mean()) for name, found in top.items() if name != "fp32"},
        near_tie=near_tie,
        settled=settled / len(measured.labels),
        images_per_s={name: float(np.median(measured.images / spent)) for name, spent in seconds.items()},
        speedup=float(np.median(without_int8 / seconds["int8 settled"])),
    )


def _infer_all(engine: Engine, frames: Pixels) -> Outputs:
    return np.concatenate([engine.infer(frames[first : first + _BATCH]) for first in range(0, len(frames), _BATCH)])


def _measure(engines: dict[str, Engine], pictures: Iterable[tuple[Pixels, int | None]]) -> Measurement:
    """Run all pictures through each engine.

    Every engine runs each batch, in a different order each time, so that a slow moment of the machine affects all. The
    batches are grouped into rounds, because near-ties are not spread evenly over them.
    Raises DataInvalid if there are no pictures.
    """
    found: defaultdict[str, list[Outputs]] = defaultdict(list)
    spent: defaultdict[str, list[float]] = defaultdict(list)
    labels: list[int | None] = []
    sizes: list[int] = []
    order = list(engines)
    waiting = iter(pictures)
    while batch := list(itertools.islice(waiting, _BATCH)):
        pixels = np.stack([picture for picture, _ in batch])
        labels += [label for _, label in batch]
        sizes.append(len(batch))
        order = order[1:] + order[:1]
        for name in order:
            started = time.perf_counter()
            found[name].append(engines[name].infer(pixels))
            spent[name].append(time.perf_counter() - started)
    if not labels:
        raise DataInvalid("no photo is left to measure with")
    starts = [int(start) for start in np.linspace(0, len(sizes), min(_ROUNDS, len(sizes)), endpoint=False)]
    return Measurement(
        outputs={name: np.concatenate(values) for name, values in found.items()},
        labels=labels,
        seconds={name: np.add.reduceat(spent[name], starts) for name in engines},
        images=np.add.reduceat(sizes, starts),
    )
