"""Tells slow from stuck: how much a transfer has to move within each span of time."""

from __future__ import annotations


class Progress:
    """A transfer that has to move `at_least` bytes within every `span_s` seconds.

    A pause of up to `span_s` is forgiven, however slow the line; a large transfer over a thin line may take as long as
    it takes. A fixed total would cut the honest with the rest.
    """

    __slots__ = ("_at_least", "_begun", "_bytes", "_span_s")

    def __init__(self, span_s: float, at_least: float) -> None:
        self._span_s = span_s
        self._at_least = at_least
        self._begun: float | None = None
        self._bytes = 0

    def rest(self) -> None:
        """Nothing has to move now; the next look begins a span."""
        self._begun = None

    def stuck(self, moved: int, now: float) -> bool:
        """Whether too little moved since the span began; `moved` counts all bytes so far, `now` is in seconds."""
        if self._begun is None or moved - self._bytes >= self._at_least:
            self._begun, self._bytes = now, moved
            return False
        return now - self._begun > self._span_s
