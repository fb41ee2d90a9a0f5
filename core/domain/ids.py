"""Ids that sort by the time of their creation."""

from __future__ import annotations

import secrets
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no i, l, o, u
_TIME_DIGITS = 10  # 50 bits of milliseconds
_RANDOM_DIGITS = 12  # 60 bits


def new_id(prefix: str, now: float | None = None) -> str:
    """Return `prefix_` and 22 characters: 50 bits of milliseconds, then 60 random bits. `now` is in Unix seconds."""
    moment = int((time.time() if now is None else now) * 1000)
    return f"{prefix}_{_base32(moment, _TIME_DIGITS)}{_base32(secrets.randbits(60), _RANDOM_DIGITS)}"


def _base32(number: int, digits: int) -> str:
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(5 * (digits - 1), -1, -5))
