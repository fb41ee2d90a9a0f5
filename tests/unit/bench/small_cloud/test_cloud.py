"""Latency and faults of the stand-in."""

from __future__ import annotations

from typing import Any, cast

import pytest

from bench.small_cloud.cloud import Cloud
from bench.small_cloud.http import Request
from bench.small_cloud.process import SmallCloud
from core.errors import Unavailable
from core.wiring import Backend


class _Loop:
    """An event loop whose clock stands at 100, and which keeps what it is to call later."""

    def __init__(self) -> None:
        self.later: list[tuple[float, Any, tuple[Any, ...]]] = []

    def time(self) -> float:
        return 100.0

    def call_at(self, when: float, callback: Any, *arguments: Any) -> None:
        self.later.append((when, callback, arguments))


def test_an_answer_waits_for_the_latency() -> None:
    loop, said = _Loop(), []
    cloud = Cloud(cast(Any, loop))
    cloud.control({"latency_ms": 30})
    cloud.answer(Request("GET", "/b/k", "", {}), lambda data, close: said.append((data, close)))
    assert said == []
    [(when, callback, arguments)] = loop.later
    callback(*arguments)
    assert when == pytest.approx(100.03)
    assert said[0][0].startswith(b"HTTP/1.1 404")


@pytest.mark.parametrize("kind", ["slow_down", "cut", "lost", "short"])
def test_faults_are_retried_and_counted(cloud: SmallCloud, backend: Backend, kind: str) -> None:
    backend.store.put("results/a", b"content")
    cloud.control(faults={"share": 0.3, "kinds": [kind], "services": ["s3"], "seed": 3})
    assert [backend.store.get("results/a").data for _ in range(6)] == [b"content"] * 6
    assert cloud.requests()[f"fault.{kind}"] > 0


def test_without_an_answer_at_all_the_store_is_unavailable(cloud: SmallCloud, backend: Backend) -> None:
    cloud.control(faults={"share": 1.0, "kinds": ["cut"]})
    with pytest.raises(Unavailable):
        backend.store.get("results/a")
