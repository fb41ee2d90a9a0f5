"""Keeps the int8 form of a network in the store, with its measurements.

models/NAME/int8-HASH/model.xml, model.bin    the network for OpenVINO; HASH is that of the original weights
models/NAME/int8-HASH/golden.npy              the form's own outputs for the golden picture
models/NAME/int8-HASH/figures.json            `Int8Figures`, written last, so that a form with figures is complete
models/NAME/int8-HASH/refused.json            `Int8Figures` of a form that was refused, in place of all of the above

A form is judged as a worker serves it: with its near-ties settled. It is refused if what it loses is more than chance.
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
from core.util.significance import mcnemar_mid_p, wilson_interval

LEVEL = 0.05
"""A loss of top-1 accuracy counts if chance alone loses as much in fewer measurements than this share."""
MIN_AGREEMENT = 0.95
"""The least share of photos on which the top label must be fp32's. Without labels, top-1 cannot fall by more than the
rest."""
MIN_LABELLED = 200
"""With fewer labelled photos, a test of top-1 sees only losses of several points."""
_FIGURES = "figures.json"
_REFUSED = "refused.json"


class Int8Figures(BaseModel):
    """Measurements of a form, on photos that were not used to calibrate it. All shares are 0..1."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    calibrated_on: int
    """Photos."""
    photos: int
    labelled: int
    """The number of photos whose correct label is known."""
    top1: dict[str, float] = {}
    """Share of the labelled photos with a correct top label, by precision: fp32, int8, `int8 settled`, and
    `bf16 settled` if it would serve without int8."""
    lost: int | None = None
    """The labelled photos that fp32 labels correctly and the settled form does not. None in figures of earlier
    versions, which judged int8 without settling."""
    won: int | None = None
    """The labelled photos that the settled form labels correctly and fp32 does not."""
    agreement: dict[str, float]
    """Share of the photos whose top label is fp32's, for int8, `int8 settled`, and `bf16 settled` as above."""
    near_tie: float
    """Photos whose two highest outputs differ by less than this are computed again."""
    settled: float
    """Share of the photos that are computed again."""
    images_per_s: dict[str, float]
    """By precision, as for `top1`, measured in turn on the same photos, on the machine that made the form."""
    speedup: float = 0.0
    """Images/s of the settled form over those of what would serve without int8."""
    sha256: dict[str, str] = {}
    """The hash of each file of the form."""

    @property
    def chance(self) -> float | None:
        """The probability that chance alone loses as much top-1 accuracy. None without labelled photos."""
        if self.lost is None or self.won is None or not self.labelled:
            return None
        return mcnemar_mid_p(self.lost, self.won)

    @property
    def agreement_bounds(self) -> tuple[float, float]:
        """The lower and upper 95 % bounds of the settled form's agreement with fp32."""
        return wilson_interval(round(self.agreement["int8 settled"] * self.photos), self.photos)

    @property
    def refusals(self) -> tuple[str, ...]:
        """The reasons against using this form, as sentences for people. Empty if there are none."""
        reasons = []
        if (chance := self.chance) is not None and chance < LEVEL:
            reasons.append(
                f"of {self.labelled} labelled photos it labels {self.top1['int8 settled']:.2%} correctly, and fp32 "
                f"{self.top1['fp32']:.2%}: {self.lost} became wrong and {self.won} right, which chance alone does in "
                f"{chance:.1%} of measurements"
            )
        if (upper := self.agreement_bounds[1]) < MIN_AGREEMENT:
            reasons.append(
                f"its top label is fp32's on {self.agreement['int8 settled']:.1%} of {self.photos} photos, by chance "
                f"{upper:.1%} at most, and {MIN_AGREEMENT:.0%} are required"
            )
        return tuple(reasons)

    @property
    def why_not(self) -> str:
        """Why workers do not run it by default, in a sentence. Empty if they do."""
        if self.lost is None:
            return "it was measured by an earlier version, without settling its near-ties, and has to be made again"
        if self.refusals:
            return "; ".join(self.refusals)
        if self.labelled >= MIN_LABELLED or (lower := self.agreement_bounds[0]) >= MIN_AGREEMENT:
            return ""
        return (
            f"its top label is fp32's on {self.agreement['int8 settled']:.1%} of only {self.photos} photos, which may "
            f"by chance stand for {lower:.1%}, and {MIN_AGREEMENT:.0%} are required: measure it on more photos, or on "
            f"{MIN_LABELLED} with labels"
        )

    @property
    def offered(self) -> bool:
        """Whether CPUs run it by default: nothing speaks against it, and enough photos were measured."""
        return not self.why_not


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
    store.delete([prefix + _FIGURES, prefix + _REFUSED])  # a reader now finds no form, not new files with old figures
    hashes = converted.upload_files(form.converted.folder, prefix, store)
    figures = form.figures.model_copy(update={"sha256": hashes})
    store.put(prefix + _FIGURES, figures.model_dump_json(indent=1).encode(), content_type="application/json")
    return figures


def refuse(figures: Int8Figures, network: Network, weights_hash: str, store: ObjectStore) -> None:
    """Delete the form from the store, and keep why. Workers that run it go on until they end. Raises Unavailable."""
    prefix = layout.int8_prefix(network.file_name, weights_hash)
    store.delete([prefix + _FIGURES])
    store.delete([info.key for info in store.list(prefix)])
    store.put(prefix + _REFUSED, figures.model_dump_json(indent=1).encode(), content_type="application/json")


def is_measured(network: Network, weights_hash: str, store: ObjectStore) -> bool:
    """Return whether a form of these weights is in the store, or was refused. Raises Unavailable."""
    prefix = layout.int8_prefix(network.file_name, weights_hash)
    return any(info.key.endswith((_FIGURES, _REFUSED)) for info in store.list(prefix))


def _again(network: Network) -> str:
    return f"make it again, `tagfleet models quantise {network.name}`"
