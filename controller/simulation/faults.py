"""Faults between a controller and its ports: calls that fail, answers that are lost, and a crash between two calls.

A call is named by its verb ("launch"), or by its verb and first argument ("launch one", "put fleet/cap.json"). A
queue's only call, `depth`, takes no argument; the queue's name stands in its place ("depth jobs-one").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from core.errors import Unavailable


class Crash(BaseException):
    """The controller's process dies here. Nothing in it may catch this."""


class Faults:
    """Wraps ports, records every call and breaks the ones that are named."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        """Every call with its text arguments, in order."""
        self.broken: set[str] = set()
        """Calls that raise Unavailable and do nothing."""
        self.lost_answers: set[str] = set()
        """Calls that do their work and then raise Unavailable."""
        self.failed = 0
        """Calls that raised Unavailable, for whatever reason."""
        self._fuse: int | None = None
        self._fuse_after = False
        self._suspended = 0

    def around(self, port: Any) -> Any:
        """A stand-in for `port` whose calls can fail."""
        return _Guarded(port, self)

    def crash_at(self, call: int | None, *, after: bool = False) -> None:
        """Raise Crash at the next `call`-th call, before or after it does its work; None takes that back."""
        self._fuse, self._fuse_after = call, after

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Calls in here are somebody else's: they are not recorded and never fail."""
        self._suspended += 1
        try:
            yield
        finally:
            self._suspended -= 1

    def mend(self) -> None:
        """Let every call succeed again."""
        self.broken, self.lost_answers = set(), set()

    def call(self, words: list[str], make: Callable[[], Any]) -> Any:
        """Make one call that is named by `words`. Raises Unavailable and Crash as it was told to."""
        if self._suspended:
            return make()
        names, text = {words[0], " ".join(words[:2])}, " ".join(words)
        self.calls.append(text)
        try:
            _fail(names & self.broken, f"{text}: not now")
            self._burn(after=False)
            answer = make()
            self._burn(after=True)
            _fail(names & self.lost_answers, f"{text}: the answer was lost")
        except Unavailable:
            self.failed += 1
            raise
        return answer

    def _burn(self, *, after: bool) -> None:
        if self._fuse is None or self._fuse_after is not after:
            return
        self._fuse -= 1
        if self._fuse <= 0:
            self._fuse = None
            raise Crash


def _fail(named: set[str], why: str) -> None:
    if named:
        raise Unavailable(why)


class _Guarded:
    def __init__(self, port: Any, faults: Faults) -> None:
        self._port, self._faults = port, faults

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if not callable(found):
            return found

        def guarded(*args: Any, **kwargs: Any) -> Any:
            def make() -> Any:
                answer = found(*args, **kwargs)
                return iter(list(answer)) if isinstance(answer, Iterator) else answer

            subject = [self._port.name] if name == "depth" else []
            return self._faults.call([name, *subject, *_texts(args)], make)

        return guarded


def _texts(arguments: tuple[Any, ...]) -> Iterator[str]:
    """The arguments that name something: texts, counts and lists of texts."""
    for argument in arguments:
        if isinstance(argument, str | int):
            yield str(argument)
        elif isinstance(argument, list | tuple):
            yield from (each for each in argument if isinstance(each, str))
