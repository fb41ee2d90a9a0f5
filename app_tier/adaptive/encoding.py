"""Encodes a learned state: a SHA-256, then numpy's npz with arrays and one block of JSON. Never unpickles anything."""

from __future__ import annotations

import hashlib
import io
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, Field, ValidationError

from app_tier.adaptive.state import AppliedFeedback, LearnedState
from app_tier.adaptive.statistics import Counts, Features, Statistics, Sums, TagSums
from core.domain.messages import Opinion
from core.errors import WeightsInvalid

_DIGEST = hashlib.sha256().digest_size
_Count = Annotated[int, Field(ge=0)]


class _Tag(BaseModel):
    key: str
    name: str
    accepted: _Count
    rejected: _Count


class _About(BaseModel):
    """Everything but the arrays. Each image has its revision and its opinions by tag name."""

    format: Literal[1] = 1
    version: _Count
    dimensions: Annotated[int, Field(gt=0)]
    seen: _Count
    tags: list[_Tag]
    images: dict[str, tuple[int, dict[str, bool]]]
    sample: list[tuple[str, str]]


def encode_state(state: LearnedState) -> bytes:
    """Encode a state. Its arrays are:

    `sums` (tags, 4, d) int64: accepted Σx and Σx², rejected Σx and Σx²; `seen` (2, d) int64; `sample` (n, d) int16.
    """
    statistics, d = state.statistics, state.statistics.dimensions
    about = _About(
        version=state.version,
        dimensions=d,
        seen=statistics.seen.n,
        tags=[
            _Tag(key=key, name=tag.name, accepted=tag.accepted.n, rejected=tag.rejected.n)
            for key, tag in statistics.tags.items()
        ],
        images={
            image_id: (known.revision, {opinion.name: opinion.wanted for opinion in known.opinions})
            for image_id, known in state.images.items()
        },
        sample=list(state.sample),
    )
    sums = [
        [tag.accepted.total, tag.accepted.squares, tag.rejected.total, tag.rejected.squares]
        for tag in statistics.tags.values()
    ]
    stream = io.BytesIO()
    np.savez_compressed(
        stream,
        about=np.frombuffer(about.model_dump_json().encode(), np.uint8),
        sums=np.array(sums, np.int64).reshape(len(sums), 4, d),
        seen=np.stack([statistics.seen.total, statistics.seen.squares]),
        sample=np.array(list(state.sample.values()), np.int16).reshape(len(state.sample), d),
    )
    return hashlib.sha256(stream.getvalue()).digest() + stream.getvalue()


def decode_state(data: bytes, place: str) -> LearnedState:
    """Decode a state. Raises WeightsInvalid, which names `place`, for bytes that `encode_state` did not write."""
    try:
        with np.load(io.BytesIO(_verify(data)), allow_pickle=False) as arrays:
            about = _About.model_validate_json(arrays["about"].tobytes())
            d = about.dimensions
            sums = _check_array(arrays["sums"], (len(about.tags), 4, d), np.int64)
            seen = _check_array(arrays["seen"], (2, d), np.int64)
            sample: Features = _check_array(arrays["sample"], (len(about.sample), d), np.int16)
    except (ValidationError, KeyError, ValueError) as error:
        why = " ".join(str(error).split())[:120]
        raise WeightsInvalid(
            f"what `adaptive` has learned is damaged ({place} in the store: {why}): put an earlier copy of the object "
            "there, or delete it and learn again with `tagfleet adaptive fit DIR`"
        ) from None
    tags = {tag.key: _tag(tag, rows) for tag, rows in zip(about.tags, sums, strict=True)}
    return LearnedState(
        Statistics(d, Sums(about.seen, *seen), tags),
        about.version,
        {image_id: AppliedFeedback(revision, _opinions(said)) for image_id, (revision, said) in about.images.items()},
        dict(zip(about.sample, sample, strict=True)),
    )


def _verify(data: bytes) -> bytes:
    digest, whole = data[:_DIGEST], data[_DIGEST:]
    if hashlib.sha256(whole).digest() != digest:
        raise ValueError("its SHA-256 is wrong")
    return whole


def _tag(about: _Tag, sums: Counts) -> TagSums:
    return TagSums(about.name, Sums(about.accepted, sums[0], sums[1]), Sums(about.rejected, sums[2], sums[3]))


def _opinions(said: dict[str, bool]) -> tuple[Opinion, ...]:
    return tuple(Opinion(name=name, wanted=wanted) for name, wanted in said.items())


def _check_array(found: Any, shape: tuple[int, ...], kind: type[np.integer[Any]]) -> Any:
    if found.shape != shape or found.dtype != kind:
        raise ValueError(f"{shape} numbers of {kind.__name__} were expected, not {found.shape} of {found.dtype}")
    return found
