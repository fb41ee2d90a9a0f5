"""What a controller says in its log: a line when something changes, and none while it stays so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from core import telemetry
from core.errors import Unavailable


class Voice:
    """One per process. It knows what it said last about each subject."""

    def __init__(self) -> None:
        self._log = telemetry.logger()
        self._said: dict[str, str] = {}

    def say(self, subject: str, text: str, *, key: str = "", **context: str) -> None:
        """One line a change: nothing while `key`, or without one the text, stays the same."""
        if self._said.get(subject) != (key or text):
            self._said[subject] = key or text
            self._log.info(text, **context)

    def settled(self, subject: str, text: str = "") -> None:
        """It is no more as it was said to be; where something was said, `text` says so."""
        if self._said.pop(subject, None) and text:
            self._log.info(text)

    @contextmanager
    def bearing(self, failure: str) -> Iterator[None]:
        """What cannot be had is said, and stops nobody."""
        try:
            yield
        except Unavailable as error:
            self.say(failure, f"{failure}: {error}")
        else:
            self.settled(failure)
