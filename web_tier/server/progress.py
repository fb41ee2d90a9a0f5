"""Distinguishes a slow transfer from a stuck one: how much it must move within each span of time."""

from __future__ import annotations


class Progress:
    """A transfer that must move `at_least` bytes within every `span_s` seconds.

    A pause of up to `span_s` is allowed, and a large transfer over a slow line may take as long as it needs. A limit of
    the total time would cut off honest clients, too.
    """

    __slots__ = ("_at_least", "_begun", "_bytes", "_span_s")

    def __init__(self, span_s: float, at_least: float) -> None:
        self._span_s = span_s
        self._at_least = at_least
        self._begun: float | None = None
        self._bytes = 0

    def rest(self) -> None:
        """Stop measuring. The next call of `stuck` begins a new span."""
        self._begun = None

    def stuck(self, moved: int, now: float) -> bool:
        """Return whether too little moved in this span. `moved` counts all bytes so far; `now` is in seconds."""
        if self._begun is None or moved - self._bytes >= self._at_least:
            self._begun, self._bytes = now, moved
            return False
        return now - self._begun > self._span_s
