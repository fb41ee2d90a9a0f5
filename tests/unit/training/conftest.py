"""Run torch in one thread: small networks gain nothing from more, and parallel tests lose much."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
