"""Rules for a decoder or a tagger that does not return: when its process must end."""

from __future__ import annotations

from app_tier.pipeline.call_watch import CallWatch
from app_tier.pipeline.decoding import Decoding
from app_tier.pipeline.flow import Flow
from config.settings import WorkerSettings

_HUNG_BATCHES = 50
"""A batch that takes this many times as long as the slowest before it counts as hung."""
_HUNG_AT_MOST = 5
"""How many times `decode_timeout_s` a hung decode is tolerated while other images in flight are finished."""


class HangWatch:
    """Judges the decodes and the tagger's batches that are under way. `tagger_calls` watches the batches."""

    def __init__(self, flow: Flow, settings: WorkerSettings, decoding: Decoding, tagger_calls: CallWatch) -> None:
        self._flow = flow
        self._settings = settings
        self._decoding = decoding
        self._tagger_calls = tagger_calls

    def decoding_for(self) -> float:
        """Return how many seconds the slowest decode in this process has taken so far."""
        return self._decoding.hung_for()

    def find(self) -> str:
        """Return what hangs so that this process must end, a decode or the tagger; "" if nothing does.

        To be called every second. A slow decode is tried again in a child. While a decode hangs, nothing is received:
        the other images in flight are finished first, unless that takes too long.
        """
        self._decoding.overtake()
        return "a decode" if self._decode_hangs() else "the tagger" if self._tagger_hangs() else ""

    def _decode_hangs(self) -> bool:
        timeout_s = self._settings.decode_timeout_s
        if self.decoding_for() <= timeout_s:
            self._flow.receiving.open()
            return False
        self._flow.receiving.close()
        return not self._flow.in_flight.unsuspected or self.decoding_for() > _HUNG_AT_MOST * timeout_s

    def _tagger_hangs(self) -> bool:
        """Return whether a batch takes too long.

        That is `infer_timeout_s`, or less for a tagger whose batches so far were quick: then as long as a decode may
        take, or many times the slowest of them.
        """
        limit = self._settings.infer_timeout_s
        if slowest_s := self._tagger_calls.slowest_s:
            limit = min(limit, max(self._settings.decode_timeout_s, _HUNG_BATCHES * slowest_s))
        return self._tagger_calls.longest_s() > limit
