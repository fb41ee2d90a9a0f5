"""How an end is told: by code, signal, last words, and lack of memory in the many forms that programs give it."""

from __future__ import annotations

import pytest

from core import exits
from core.errors import Unavailable, describe_error


@pytest.mark.parametrize(
    "words",
    [
        "MemoryError",
        "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 7.45 GiB for an array",
        "terminate called after throwing an instance of 'std::bad_alloc'",
        "OSError: [Errno 12] Cannot allocate memory",
        "ImportError: libopenvino.so: failed to map segment from shared object",
        "RuntimeError: can't start new thread",
        "RuntimeError: [enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried to",
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
    ],
)
@pytest.mark.parametrize("code", [1, -6, -9, None])
def test_lack_of_memory_is_told_whatever_its_words(words: str, code: int | None) -> None:
    told = exits.describe_end(code, f"starting\n{words}\n\n")
    assert "it ran out of memory: give this machine more memory, or run fewer workers" in told
    assert ("killed by SIGKILL" in told) == (code == -9)


@pytest.mark.parametrize(
    ("code", "log", "told"),
    [
        (0, "done", ""),
        (None, "working", ""),
        (3, "", "ended with exit code 3"),
        (1, "first\n  no such device \n", "ended with exit code 1; its log ends: no such device"),
        (-11, "", "killed by SIGSEGV"),
        (-63, "", "killed by signal 63"),
    ],
)
def test_other_ends_are_told_by_what_is_known(code: int | None, log: str, told: str) -> None:
    assert exits.describe_end(code, log) == told


def test_an_error_of_memory_says_what_to_do() -> None:
    assert describe_error(MemoryError()).startswith("MemoryError; it ran out of memory: give this machine more memory")
    assert describe_error(RuntimeError("std::bad_alloc")).startswith(
        "RuntimeError: std::bad_alloc; it ran out of memory"
    )
    assert describe_error(ZeroDivisionError("no")) == "ZeroDivisionError: no"
    assert describe_error(Unavailable("the disk is full")) == "the disk is full"
