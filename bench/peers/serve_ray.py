"""Serve with Ray Serve, as in https://docs.ray.io/en/latest/serve/advanced-guides/dyn-req-batch.html."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence

import ray
from ray import serve
from starlette.requests import Request

from bench.peers import model

_BATCH = 10  # ray's default
_size = model.batch_size(_BATCH)


@serve.deployment(max_ongoing_requests=2 * _size)  # Ray warns that its default, 5, never fills a batch
class Tagger:
    def __init__(self) -> None:
        self.model = model.load()

    @serve.batch(max_batch_size=_size)
    async def tag(self, photos: Sequence[bytes]) -> list[list[str]]:
        return self.model.tag([self.model.prepare(photo) for photo in photos])

    async def __call__(self, request: Request) -> dict[str, list[str]]:
        return {"tags": await self.tag(await request.body())}


if __name__ == "__main__":
    cores = len(os.sched_getaffinity(0))
    ray.init(num_cpus=cores, include_dashboard=False, _node_ip_address="127.0.0.1", _temp_dir=sys.argv[2])
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    serve.run(Tagger.bind(), route_prefix="/predict")  # type: ignore[attr-defined]  # the decorator gives it
    threading.Event().wait()
