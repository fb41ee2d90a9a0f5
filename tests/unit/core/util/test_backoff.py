from __future__ import annotations

import pytest

from core.util.backoff import compute_backoff, retry


def test_pauses_double_up_to_the_cap() -> None:
    assert [compute_backoff(n, base_s=0.2, cap_s=1.0) for n in range(5)] == [0.2, 0.4, 0.8, 1.0, 1.0]


def test_a_thousand_failures_do_not_overflow() -> None:
    assert compute_backoff(100_000, base_s=1.0, cap_s=30.0) == 30.0


def test_jitter_shortens_a_pause_by_its_share_at_most() -> None:
    pauses = [compute_backoff(3, base_s=1.0, cap_s=60.0, jitter=0.5) for _ in range(200)]
    assert 4.0 <= min(pauses) < max(pauses) <= 8.0


def test_retry_pauses_between_tries_and_raises_the_last_error() -> None:
    errors = iter([OSError("first"), OSError("second"), OSError("last")])
    pauses: list[float] = []

    def step() -> None:
        raise next(errors)

    with pytest.raises(OSError, match="last"):
        retry(step, OSError, tries=3, base_s=0.5, pause=pauses.append)
    assert pauses == [0.5, 1.0]


def test_retry_returns_the_first_answer_and_passes_other_errors() -> None:
    assert retry(lambda: 7, OSError, tries=3, base_s=0.5, pause=pytest.fail) == 7
    with pytest.raises(ZeroDivisionError):
        retry(lambda: 1 // 0, OSError, tries=3, base_s=0.5, pause=pytest.fail)
