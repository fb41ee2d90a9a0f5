"""What taggers have that pass frames on to an engine which may take several batches."""

from __future__ import annotations

from collections.abc import Sequence

from app_tier.engines import DeviceEngine, DeviceFrame, Engine
from core.imaging.plain_jpeg import PlainJpeg


class OnDevice:
    """The methods of `DeviceTagger` that only ask the engine. Without a device, its engine is asked one at a time."""

    _engine: Engine

    @property
    def best_batch(self) -> int:
        """The number of images in one call at which the engine is fastest now."""
        return self._engine.best_batch

    @property
    def most_at_once(self) -> int | None:
        """The most images in one call: on a device, as many as its memory was measured for."""
        return self._engine.most_at_once if isinstance(self._engine, DeviceEngine) else None

    @property
    def under_way(self) -> int:
        """How many batches may be submitted before the first is collected."""
        return self._engine.under_way if isinstance(self._engine, DeviceEngine) else 1

    @property
    def decodes_jpegs(self) -> bool:
        """Whether plain JPEGs may go to the engine as they are."""
        return isinstance(self._engine, DeviceEngine) and self._engine.decodes_jpegs

    def decode(self, jpegs: Sequence[PlainJpeg]) -> list[DeviceFrame | None]:
        """Decode on the device; None for each that it refuses."""
        return self._engine.decode(jpegs) if isinstance(self._engine, DeviceEngine) else [None] * len(jpegs)
