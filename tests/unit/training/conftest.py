"""Networks as small as these gain nothing by more threads, and lose much where tests run two at once."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
