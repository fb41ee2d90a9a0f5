"""A call that is waited for only so long, whatever it waits for itself: a name look-up has no time limit of its own."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

_T = TypeVar("_T")


def within(seconds: float, call: Callable[[], _T]) -> _T:
    """What `call` returns or raises. One that takes longer is left alone in its thread: raises TimeoutError."""
    outcome: Future[_T] = Future()

    def run() -> None:
        try:
            outcome.set_result(call())
        except Exception as error:  # noqa: BLE001  # raised where it is waited for
            outcome.set_exception(error)

    Thread(target=run, daemon=True, name="in time").start()
    try:
        return outcome.result(seconds)
    except TimeoutError:
        if outcome.done():
            raise
        raise TimeoutError(f"no answer within {seconds:g} s") from None
