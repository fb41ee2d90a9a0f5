"""Makes the int8 form of a network, and measures it beside fp32 and bf16 on photos that did not calibrate it.

int8 is fast and sometimes wrong. Photos whose two highest outputs are close, the near-ties, are therefore computed
again in fp32 ("settled"). This module chooses the margin, from the evaluation photos.
"""

from __future__ import annotations

import itertools
import logging
import os
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from app_tier.engines import Engine, Outputs, Pixels, golden, openvino
from app_tier.engines.int8 import Int8Figures, Int8Form
from app_tier.models.network_lookup import is_network
from app_tier.models.networks import Network
from app_tier.models.request import ModelRequest
from app_tier.models.weights import Weights
from app_tier.taggers import classifiers, registered
from app_tier.taggers.imagenet import margins, to_frame
from config.settings import PoolSettings, Settings
from core.errors import BadImage, DataInvalid, WeightsInvalid
from core.imaging.decode import Decoder
from core.storage.models import Registry
from core.storage.ports import ObjectStore

TARGET_AGREEMENT = 0.98
"""The share of photos with fp32's top label that settling near-ties should reach, as decision 6 promises."""
MOST_SETTLED = 0.15
"""The largest share of photos that may be computed again to reach it."""
_BATCH = 8

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
    network: Network, converted: openvino.ConvertedNetwork, photos: PhotoSet, folder: Path, *, threads: int, tell: Tell
) -> Int8Form:
    """Write the int8 form of a converted network into `folder`, and measure it.

    Raises DataInvalid if no photo is left to calibrate or to measure with.
    """
    frames = [pixels for _, pixels in read_frames(photos.calibration, network, photos.decoder, tell)]
    if not frames:
        raise DataInvalid("no calibration photo can be read")
    tell(f"quantising {network.name} with {len(frames)} photos")
    int8 = quantise(converted, np.stack(frames), folder, threads)
    engines: dict[str, Engine] = {
        "fp32": openvino.OpenVinoEngine(converted, threads, bf16=False),
        "int8": openvino.OpenVinoEngine(int8, threads, bf16=False),
    }
    bf16 = openvino.OpenVinoEngine(converted, threads, bf16=True)
    if bf16.bf16:
        engines["bf16"] = bf16
    tell(f"measuring {', '.join(engines)} in turn on {len(photos.evaluation)} photos")
    labels = {photo.path: photo.label for photo in photos.evaluation}
    pictures = ((pixels, labels[path]) for path, pixels in read_frames(labels, network, photos.decoder, tell))
    outputs, right, rates = _run(engines, pictures)
    return Int8Form(int8, compute_figures(outputs, right, rates, calibrated_on=len(frames)))


def quantise(
    converted: openvino.ConvertedNetwork, frames: Pixels, folder: Path, threads: int
) -> openvino.ConvertedNetwork:
    """Write the int8 form into `folder`, by NNCF's post-training quantisation with (N, height, width, 3) frames."""
    os.environ.setdefault("NNCF_CI", "1")  # switches NNCF's telemetry off; read at the import
    import nncf
    import openvino as ov

    logging.getLogger("nncf").setLevel(logging.ERROR)
    model = ov.Core().read_model(converted.model)
    calibration = nncf.Dataset(range(len(frames)), lambda index: frames[index : index + 1])
    quantised = nncf.quantize(model, calibration, subset_size=len(frames), target_device=nncf.TargetDevice.CPU)
    int8 = openvino.ConvertedNetwork(folder, int8=True)
    ov.save_model(quantised, int8.model, compress_to_fp16=False)
    picture = golden.pixels(frames.shape[1])
    np.save(folder / openvino.GOLDEN, openvino.OpenVinoEngine(int8, threads, bf16=False).infer(picture)[0])
    return int8


def compute_figures(
    outputs: dict[str, Outputs],
    right: Sequence[int | None],
    rates: dict[str, float],
    *,
    calibrated_on: int,
) -> Int8Figures:
    """Return the figures from each precision's (N, labels) outputs for the same photos, their labels, and images/s."""
    top = {name: values.argmax(axis=1) for name, values in outputs.items()}
    same = {name: found == top["fp32"] for name, found in top.items() if name != "fp32"}
    near = margins(outputs["int8"])
    near_tie = settling_margin(same["int8"], near)
    settled = near < near_tie
    known = [number for number, label in enumerate(right) if label is not None]
    labels = np.array([right[number] for number in known])
    return Int8Figures(
        calibrated_on=calibrated_on,
        photos=len(right),
        labelled=len(known),
        top1={name: float((found[known] == labels).mean()) for name, found in top.items()} if known else {},
        agreement={
            **{name: float(agrees.mean()) for name, agrees in same.items()},
            "int8 settled": float((same["int8"] | settled).mean()),
        },
        near_tie=near_tie,
        settled=float(settled.mean()),
        images_per_s=rates,
    )


def settling_margin(same: npt.NDArray[np.bool_], near: Outputs) -> float:
    """Return the smallest margin that reaches TARGET_AGREEMENT once photos below it are settled in fp32.

    `same` says for each photo whether int8's top label is fp32's, `near` how much int8's highest output exceeds its
    second. The margin settles at most MOST_SETTLED of the photos, even if that misses the target.
    """
    wrong = np.sort(near[~same])
    allowed = int((1 - TARGET_AGREEMENT) * len(near) + 1e-9)
    if len(wrong) <= allowed:
        return 0.0
    target = float(np.nextafter(wrong[len(wrong) - 1 - allowed], np.float32(np.inf)))
    most = float(np.sort(near)[int(MOST_SETTLED * len(near))])
    return min(target, most)


def _run(
    engines: dict[str, Engine], pictures: Iterable[tuple[Pixels, int | None]]
) -> tuple[dict[str, Outputs], list[int | None], dict[str, float]]:
    """Run all pictures through each engine, and return outputs, labels and images/s.

    Every engine runs each batch, in a different order each time, so that a slow moment of the machine affects all.
    Raises DataInvalid if there are no pictures.
    """
    found: defaultdict[str, list[Outputs]] = defaultdict(list)
    rates: defaultdict[str, list[float]] = defaultdict(list)
    labels: list[int | None] = []
    order = list(engines)
    waiting = iter(pictures)
    while batch := list(itertools.islice(waiting, _BATCH)):
        pixels = np.stack([picture for picture, _ in batch])
        labels += [label for _, label in batch]
        order = order[1:] + order[:1]
        for name in order:
            started = time.perf_counter()
            found[name].append(engines[name].infer(pixels))
            rates[name].append(len(batch) / (time.perf_counter() - started))
    if not labels:
        raise DataInvalid("no photo is left to measure with")
    first = 1 if len(labels) > _BATCH else 0  # in its first batch an engine allocates its buffers
    medians = {name: statistics.median(values[first:]) for name, values in rates.items()}
    return {name: np.concatenate(values) for name, values in found.items()}, labels, medians
