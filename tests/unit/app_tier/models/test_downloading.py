"""Calls with a deadline."""

from __future__ import annotations

import threading

import pytest

from app_tier.models.downloading import call_with_deadline


def test_a_call_returns_and_raises_as_before() -> None:
    assert call_with_deadline(60, lambda: "answer") == "answer"
    for error in (ZeroDivisionError("why"), TimeoutError("its own")):

        def fails(error: Exception = error) -> None:
            raise error

        with pytest.raises(type(error), match=str(error)):
            call_with_deadline(60, fails)


def test_a_call_that_takes_too_long_is_abandoned() -> None:
    answered = threading.Event()
    with pytest.raises(TimeoutError, match=r"no answer within 0\.01 s"):
        call_with_deadline(0.01, answered.wait)
    answered.set()
