"""Keeps the int8 form of a network in the store, with its measurements.

models/NAME/int8-HASH/model.xml, model.bin    the network for OpenVINO; HASH is that of the original weights
models/NAME/int8-HASH/golden.npy              the form's own outputs for the golden picture
models/NAME/int8-HASH/figures.json            `Int8Figures`, written last, so that a form with figures is complete
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from app_tier.engines import converted, openvino
from app_tier.models.networks import Network
from core.errors import NotFound, WeightsInvalid
from core.storage import layout
from core.storage.ports import ObjectStore

MAX_LOSS = 0.5
"""The most percentage points of top-1 accuracy that int8 may lose."""
MIN_AGREEMENT = 0.94
"""The least share of photos on which int8's top label must be fp32's."""
MIN_LABELLED = 200
"""With fewer labelled photos, a loss of half a point cannot be seen."""
_FIGURES = "figures.json"


class Int8Figures(BaseModel):
    """Measurements of a form, on photos that were not used to calibrate it. All shares are 0..1."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    calibrated_on: int
    """Photos."""
    photos: int
    labelled: int
    """The number of photos whose correct label is known."""
    top1: dict[str, float] = {}
    """Share of the labelled photos with a correct top label, by precision: fp32, int8, and bf16 if it was measured."""
    agreement: dict[str, float]
    """Share of the photos whose top label is fp32's, for int8, `int8 settled`, and bf16 if it was measured."""
    near_tie: float
    """Photos whose two highest outputs differ by less than this are computed again in fp32."""
    settled: float
    """Share of the photos that are computed again."""
    images_per_s: dict[str, float]
    """By precision, measured in turn on the same photos, on the machine that made the form."""
    sha256: dict[str, str] = {}
    """The hash of each file of the form."""

    @property
    def loss(self) -> float | None:
        """The percentage points of top-1 accuracy that int8 loses. None without labelled photos."""
        return 100 * (self.top1["fp32"] - self.top1["int8"]) if self.labelled else None

    @property
    def refusals(self) -> tuple[str, ...]:
        """The reasons against using this form, for people. Empty if there are none."""
        reasons = []
        if (loss := self.loss) is not None and loss > MAX_LOSS + 1e-9:
            reasons.append(f"it loses {loss:.1f} points of top-1 on {self.labelled} photos, at most {MAX_LOSS} allowed")
        if self.agreement["int8"] < MIN_AGREEMENT:
            reasons.append(
                f"its top label is fp32's on {self.agreement['int8']:.1%} of {self.photos} photos, "
                f"at least {MIN_AGREEMENT:.0%} are required"
            )
        return tuple(reasons)

    @property
    def offered(self) -> bool:
        """Whether CPUs run it by default: nothing speaks against it, and enough labelled photos were measured."""
        return not self.refusals and self.labelled >= MIN_LABELLED


@dataclass(frozen=True, slots=True)
class Int8Form:
    """An int8 form on this machine, and its figures."""

    converted: openvino.ConvertedNetwork
    figures: Int8Figures


def fetch(network: Network, weights_hash: str, store: ObjectStore, cache: Path) -> Int8Form | None:
    """Return the form of exactly these weights, and copy it into the cache once. None if the store has none.

    Raises WeightsInvalid if it is damaged, Unavailable.
    """
    prefix = layout.int8_prefix(network.file_name, weights_hash)
    try:
        stored = store.get(prefix + _FIGURES).data
    except NotFound:
        return None
    try:
        figures = Int8Figures.model_validate_json(stored)
    except ValidationError:
        raise WeightsInvalid(f"{prefix}{_FIGURES} in the store is damaged: {_again(network)}") from None

    name = f"{network.file_name}-{weights_hash[:16]}-int8-{hashlib.sha256(stored).hexdigest()[:16]}"
    folder = cache / "engines" / name
    openvino.make_once(
        folder, lambda part: converted.download_files(prefix, figures.sha256, store, part, _again(network))
    )
    return Int8Form(openvino.ConvertedNetwork(folder, int8=True), figures)


def publish(form: Int8Form, network: Network, weights_hash: str, store: ObjectStore) -> Int8Figures:
    """Store the form in place of an earlier one. Return its figures with the files' hashes.

    Raises Unavailable.
    """
    prefix = layout.int8_prefix(network.file_name, weights_hash)
    store.delete([prefix + _FIGURES])  # a reader now finds no form, rather than new files with old figures
    hashes = converted.upload_files(form.converted.folder, prefix, store)
    figures = form.figures.model_copy(update={"sha256": hashes})
    store.put(prefix + _FIGURES, figures.model_dump_json(indent=1).encode(), content_type="application/json")
    return figures


def withdraw(network: Network, weights_hash: str, store: ObjectStore) -> None:
    """Delete the form from the store. Workers that run it go on until they end. Raises Unavailable."""
    prefix = layout.int8_prefix(network.file_name, weights_hash)
    store.delete([prefix + _FIGURES])
    store.delete([info.key for info in store.list(prefix)])


def _again(network: Network) -> str:
    return f"make it again, `tagfleet models quantise {network.name}`"
