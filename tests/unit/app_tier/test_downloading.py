"""A call that is waited for only so long."""

from __future__ import annotations

import threading

import pytest

from app_tier.models.downloading import call_with_deadline


def test_what_the_call_returns_and_what_it_raises() -> None:
    assert call_with_deadline(60, lambda: "answer") == "answer"
    for error in (ZeroDivisionError("why"), TimeoutError("its own")):

        def fails(error: Exception = error) -> None:
            raise error

        with pytest.raises(type(error), match=str(error)):
            call_with_deadline(60, fails)


def test_one_that_takes_too_long_is_left_alone() -> None:
    answered = threading.Event()
    with pytest.raises(TimeoutError, match=r"no answer within 0\.01 s"):
        call_with_deadline(0.01, answered.wait)
    answered.set()
