"""Makes a network's int8 form and measures it beside fp32 and bf16, on photos that did not calibrate it."""

from __future__ import annotations

import itertools
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from app_tier.engines import Engine, Outputs, Pixels, openvino
from app_tier.engines.int8 import Figures, Form
from app_tier.models import networks
from app_tier.models.networks import Network
from app_tier.models.weights import Weights
from app_tier.taggers import Wanted, classifiers, registered
from app_tier.taggers.imagenet import frame, margins
from config.settings import PoolSettings, Settings
from core.errors import BadImage, DataInvalid, WeightsInvalid
from core.imaging.decode import Decoder
from core.storage.models import Registry
from core.storage.ports import ObjectStore

WANTED_AGREEMENT = 0.98
"""What settling near-ties is to reach: the share of photos with fp32's top label that decision 6 promises."""
MOST_SETTLED = 0.15
"""Share of photos that may be computed twice for it."""
_BATCH = 8


@dataclass(frozen=True, slots=True)
class Held:
    """A photo to measure on; `label` is its right output, None where nobody knows it."""

    path: Path
    label: int | None = None


Tell = Callable[[str], None]


def found(name: str, settings: Settings, store: ObjectStore) -> tuple[Network, Weights]:
    """A network with one right label of many, known here or in the registry, and its weights, as workers find them.

    Raises WeightsMissing, WeightsInvalid for a network with several right labels, Unavailable.
    """
    pools = (pool for pool in settings.pools.values() if pool.tagger == name)
    if networks.known(name):
        return classifiers.located(Wanted(name, next(pools, PoolSettings(tagger=name)), settings, store))
    registry = Registry(store)
    manifest = registry.find(name)
    if manifest.family != "imagenet":
        raise WeightsInvalid(f"{manifest.reference} may have several right labels, and int8 is judged by the top one")
    path = registry.fetch(manifest, settings.cache / "weights")
    return registered.network_of(manifest), registered.weights_of(manifest, path)


def read(paths: Iterable[Path], network: Network, decoder: Decoder, tell: Tell) -> Iterator[tuple[Path, Pixels]]:
    """The photos as frames; what is no image is told of and passed over."""
    for path in paths:
        try:
            yield path, frame(decoder.show(path.read_bytes()), network)
        except (BadImage, OSError) as error:
            tell(f"{path} was passed over: {error}")


def make(
    network: Network,
    kept: openvino.Kept,
    calibration: Sequence[Path],
    held: Sequence[Held],
    folder: Path,
    *,
    decoder: Decoder,
    threads: int,
    tell: Tell,
) -> Form:
    """The int8 form of `kept`, written into `folder`, with what it was measured at on `held`.

    Raises DataInvalid where no photo is left to calibrate or to measure with.
    """
    from app_tier.engines import quantisation

    frames = [pixels for _, pixels in read(calibration, network, decoder, tell)]
    if not frames:
        raise DataInvalid("none of the calibration photos can be read")
    tell(f"quantising {network.name} by {len(frames)} photos")
    int8 = quantisation.to_int8(kept, np.stack(frames), folder, threads)
    engines: dict[str, Engine] = {
        "fp32": openvino.OpenVinoEngine(kept, threads, bf16=False),
        "int8": openvino.OpenVinoEngine(int8, threads, bf16=False),
    }
    bf16 = openvino.OpenVinoEngine(kept, threads, bf16=True)
    if bf16.bf16:
        engines["bf16"] = bf16
    tell(f"measuring {', '.join(engines)} in turn on {len(held)} photos")
    labels = {one.path: one.label for one in held}
    pictures = ((pixels, labels[path]) for path, pixels in read(labels, network, decoder, tell))
    outputs, right, rates = _run(engines, pictures)
    return Form(int8, figures(outputs, right, rates, calibrated_on=len(frames)))


def figures(
    outputs: dict[str, Outputs],
    right: Sequence[int | None],
    rates: dict[str, float],
    *,
    calibrated_on: int,
) -> Figures:
    """From the (N, labels) outputs of each precision for the same photos and their labels, and images/s of each."""
    top = {name: values.argmax(axis=1) for name, values in outputs.items()}
    same = {name: found == top["fp32"] for name, found in top.items() if name != "fp32"}
    near = margins(outputs["int8"])
    near_tie = settling_margin(same["int8"], near)
    settled = near < near_tie
    known = [number for number, label in enumerate(right) if label is not None]
    labels = np.array([right[number] for number in known])
    return Figures(
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
    """The smallest margin that leaves WANTED_AGREEMENT once all photos with less are settled in fp32.

    `same` says whether int8's top label is fp32's, `near` by how much int8's highest output exceeds the second. If that
    would settle more than MOST_SETTLED of the photos, the margin that settles so many.
    """
    wrong = np.sort(near[~same])
    allowed = int((1 - WANTED_AGREEMENT) * len(near) + 1e-9)
    if len(wrong) <= allowed:
        return 0.0
    wanted = float(np.nextafter(wrong[len(wrong) - 1 - allowed], np.float32(np.inf)))
    most = float(np.sort(near)[int(MOST_SETTLED * len(near))])
    return min(wanted, most)


def _run(
    engines: dict[str, Engine], pictures: Iterable[tuple[Pixels, int | None]]
) -> tuple[dict[str, Outputs], list[int | None], dict[str, float]]:
    """Outputs, labels and images/s; every engine runs each batch, in another order each time, in the same weather.

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
    first = 1 if len(labels) > _BATCH else 0  # of its first batch an engine makes its buffers
    medians = {name: statistics.median(values[first:]) for name, values in rates.items()}
    return {name: np.concatenate(values) for name, values in found.items()}, labels, medians
