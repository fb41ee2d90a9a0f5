"""Delays, counts and disturbs the answers of S3 and SQS, as a control request says.

`POST /_control` takes JSON, of which each member is optional and stays until it is changed:

    {"latency_ms": 30,        the time of each answer
     "faults": {"share": 0.05,           the share of requests that fail
                "kinds": ["slow_down", "slow", "cut", "short", "lost"],
                "slow_ms": 3000,         the time of a slow answer
                "services": ["s3", "sqs"],
                "seed": 1}}

slow_down: 503 instead of an answer, and nothing happens. cut: the connection ends, and nothing happens. lost: the
request takes effect, and the connection ends without an answer. short: the connection ends within the answer's body.

`POST /_send` takes `{QUEUE: [BODY, …]}` and sends all messages at once, and `POST /_put` takes
`{BUCKET: {KEY: CONTENT IN BASE64}}` and puts all objects. Neither is counted.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from bench.small_cloud.http import Request, Respond, answer
from bench.small_cloud.s3 import S3
from bench.small_cloud.sqs import Sqs

KINDS = ("slow_down", "slow", "cut", "short", "lost")
_SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


@dataclass
class Faults:
    """Chooses which requests fail, and how. Without a share, none does."""

    share: float = 0.0
    kinds: Sequence[str] = KINDS
    services: Sequence[str] = ("s3", "sqs")
    slow_ms: float = 3000.0
    seed: int = 1
    random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    def choose(self, service: str) -> str:
        """Return the kind of fault of this request; empty for none."""
        if not self.share or service not in self.services or self.random.random() >= self.share:
            return ""
        return self.random.choice(self.kinds)


class Cloud:
    """Both services. `answer` belongs to the event loop's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._latency_s = 0.0
        self._faults = Faults()
        self._s3 = S3()
        self._sqs = Sqs(loop)
        self._requests: Counter[str] = Counter()
        self._bytes_out = 0

    def answer(self, request: Request, respond: Respond) -> None:
        """Answer a request, after the latency."""
        request.arrived = self._loop.time()
        headers = request.headers
        if target := headers.get("x-amz-target"):
            operation = target.rpartition(".")[2]
            self._begin("sqs", operation, request, respond, partial(self._sqs.answer, operation, request))
        elif request.path.startswith("/_"):
            respond(self._controlled(request), False)
        else:
            operation, act = self._s3.find(request)
            self._begin("s3", operation, request, respond, lambda done: done(act()))

    def control(self, wanted: Mapping[str, Any]) -> None:
        """Change what `wanted` names."""
        if "latency_ms" in wanted:
            self._latency_s = float(wanted["latency_ms"]) / 1000
        if "faults" in wanted:
            given: dict[str, Any] = {
                name: tuple(v) if isinstance(v, list) else v for name, v in wanted["faults"].items()
            }
            self._faults = Faults(**given)

    def _begin(
        self,
        service: str,
        operation: str,
        request: Request,
        respond: Respond,
        act: Callable[[Callable[[bytes], None]], None],
    ) -> None:
        """Count the request and let `act` answer it, or let it fail."""
        self._requests[f"{service}.{operation}"] += 1
        fault = self._faults.choose(service) if self._faults.share else ""
        if not fault:
            act(lambda data: self._send(request, respond, data))
            return
        self._requests[f"fault.{fault}"] += 1
        if fault == "slow_down":
            self._send(request, respond, answer(503, None, _SLOW_DOWN))
        elif fault == "cut":
            self._send(request, respond, b"", close=True)
        elif fault == "lost":
            act(lambda data: self._send(request, respond, b"", close=True))
        elif fault == "short":
            act(lambda data: self._send(request, respond, _half(data), close=True))
        else:
            act(lambda data: self._send(request, respond, data, more_s=self._faults.slow_ms / 1000))

    def _send(
        self, request: Request, respond: Respond, data: bytes, *, close: bool = False, more_s: float = 0.0
    ) -> None:
        self._bytes_out += len(data)
        latency_s = self._latency_s + more_s
        if latency_s:
            self._loop.call_at(request.arrived + latency_s, respond, data, close)
        else:
            respond(data, close)

    def _controlled(self, request: Request) -> bytes:
        if request.path == "/_control":
            self.control(json.loads(request.body))
        elif request.path == "/_send":
            for queue, bodies in json.loads(request.body).items():
                self._sqs.send(queue, bodies)
        elif request.path == "/_put":
            for bucket, objects in json.loads(request.body).items():
                for key, data in objects.items():
                    self._s3.put(bucket, key, base64.b64decode(data))
        elif request.path == "/_reset":
            self._requests.clear()
            self._bytes_out = 0
        elif request.path != "/_requests":
            return answer(404)
        counts: dict[str, int] = {**self._requests, "bytes_out": self._bytes_out}
        return answer(200, {"Content-Type": "application/json"}, json.dumps(counts).encode())


def _half(data: bytes) -> bytes:
    """Return an answer with the first half of its body; nothing if it has none."""
    head, _, body = data.partition(b"\r\n\r\n")
    return head + b"\r\n\r\n" + body[: len(body) // 2] if body else b""
