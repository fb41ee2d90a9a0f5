"""The int8 form of a network: made once, kept in the store beside the model with what it was measured at.

models/NAME/int8-HASH/model.xml, model.bin    the network for OpenVINO; HASH is that of the weights it was made from
models/NAME/int8-HASH/golden.npy              its own outputs for the golden picture
models/NAME/int8-HASH/figures.json            `Figures`, put last: what is listed is whole
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
"""Percentage points of top-1 that int8 may lose."""
MIN_AGREEMENT = 0.94
"""Share of photos on which int8's top label must be fp32's."""
MIN_LABELLED = 200
"""Labelled photos below which a loss of half a point cannot be seen."""
_FIGURES = "figures.json"


class Figures(BaseModel):
    """What was measured when the form was made, on photos that did not calibrate it; all shares are 0..1."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    calibrated_on: int
    """Photos."""
    photos: int
    labelled: int
    """Of them, those whose right label is known."""
    top1: dict[str, float] = {}
    """Share of the labelled photos whose top label is right, by precision: fp32, int8, and bf16 where there is one."""
    agreement: dict[str, float]
    """Share of the photos whose top label is fp32's: int8, `int8 settled`, and bf16 where there is one."""
    near_tie: float
    """Between the two highest outputs: photos with less are settled in fp32."""
    settled: float
    """Share of the photos that are."""
    images_per_s: dict[str, float]
    """By precision, in turn on the same photos; on the machine where the form was made."""
    sha256: dict[str, str] = {}
    """Of each file of the form."""

    @property
    def loss(self) -> float | None:
        """Percentage points of top-1 that int8 loses; None without labelled photos."""
        return 100 * (self.top1["fp32"] - self.top1["int8"]) if self.labelled else None

    @property
    def refusals(self) -> tuple[str, ...]:
        """Why int8 does not hold, in words; empty if nothing speaks against it."""
        found = []
        if (loss := self.loss) is not None and loss > MAX_LOSS + 1e-9:
            found.append(f"it loses {loss:.1f} points of top-1 on {self.labelled} photos, and {MAX_LOSS} are allowed")
        if self.agreement["int8"] < MIN_AGREEMENT:
            found.append(
                f"its top label is fp32's on {self.agreement['int8']:.1%} of {self.photos} photos, "
                f"and {MIN_AGREEMENT:.0%} are asked for"
            )
        return tuple(found)

    @property
    def offered(self) -> bool:
        """Whether it is what a CPU runs by default: it holds, and that was seen on enough labelled photos."""
        return not self.refusals and self.labelled >= MIN_LABELLED


@dataclass(frozen=True, slots=True)
class Form:
    """An int8 form that is at hand."""

    kept: openvino.Kept
    figures: Figures


def fetch(network: Network, weights_hash: str, store: ObjectStore, cache: Path) -> Form | None:
    """The form made from exactly these weights, copied into the cache once; None where the store has none.

    Raises WeightsInvalid if it is damaged, Unavailable.
    """
    prefix = layout.int8_prefix(network.file_name, weights_hash)
    try:
        said = store.get(prefix + _FIGURES).data
    except NotFound:
        return None
    try:
        figures = Figures.model_validate_json(said)
    except ValidationError:
        raise WeightsInvalid(f"{prefix}{_FIGURES} in the store is damaged: {_again(network)}") from None

    name = f"{network.file_name}-{weights_hash[:16]}-int8-{hashlib.sha256(said).hexdigest()[:16]}"
    folder = cache / "engines" / name
    kept = openvino.whole(folder, lambda made: converted.copy(prefix, figures.sha256, store, made, _again(network)))
    return Form(openvino.Kept(kept.folder, int8=True), figures)


def publish(form: Form, network: Network, weights_hash: str, store: ObjectStore) -> Figures:
    """Put the form into the store, over one that is there. Its figures with the files' hashes. Raises Unavailable."""
    prefix = layout.int8_prefix(network.file_name, weights_hash)
    store.delete([prefix + _FIGURES])  # whoever looks meanwhile finds none, not new files under old figures
    hashes = converted.put(form.kept.folder, prefix, store)
    figures = form.figures.model_copy(update={"sha256": hashes})
    store.put(prefix + _FIGURES, figures.model_dump_json(indent=1).encode(), content_type="application/json")
    return figures


def withdraw(network: Network, weights_hash: str, store: ObjectStore) -> None:
    """Delete the form from the store; workers that run it go on until they end. Raises Unavailable."""
    prefix = layout.int8_prefix(network.file_name, weights_hash)
    store.delete([prefix + _FIGURES])
    store.delete([info.key for info in store.list(prefix)])


def _again(network: Network) -> str:
    return f"make it again, `tagfleet models quantise {network.name}`"
