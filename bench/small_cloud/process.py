"""Start a stand-in for S3 and SQS as a process, and control it."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core.util.interpreter import module_command

_NAMES = {"TAGFLEET_BACKEND": "aws", "TAGFLEET_AWS__INPUT_BUCKET": "input", "TAGFLEET_AWS__OUTPUT_BUCKET": "output"}


class SmallCloud:
    """A running stand-in. `settings` are the environment variables that make it a deployment's backend."""

    def __init__(self, url: str, pid: int) -> None:
        self.url = url
        self.settings = dict(_NAMES)
        self._pid = pid

    @property
    def environ(self) -> dict[str, str]:
        """The environment variables that direct a process's clients to it."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": "eu-central-1",
            "AWS_ACCESS_KEY_ID": "nobody",
            "AWS_SECRET_ACCESS_KEY": "nothing",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def control(self, **wanted: Any) -> None:
        """Set the latency (`latency_ms`) and `faults`: see `bench/small_cloud/cloud.py`."""
        self._ask("/_control", json.dumps(wanted).encode())

    def send(self, queue: str, bodies: Sequence[str]) -> None:
        """Send messages all at once, for free. `queue` is the full name, with the deployment's."""
        self._ask("/_send", json.dumps({queue: list(bodies)}).encode())

    def put(self, bucket: str, objects: Mapping[str, bytes]) -> None:
        """Put objects into a bucket all at once, for free."""
        contents = {key: base64.b64encode(data).decode() for key, data in objects.items()}
        self._ask("/_put", json.dumps({bucket: contents}).encode())

    def reset(self) -> None:
        """Forget the counts of requests."""
        self._ask("/_reset", b"")

    def requests(self) -> Counter[str]:
        """Return how often each operation was requested, retries included, such as `s3.PutObject`."""
        counts = self._ask("/_requests")
        return Counter({name: count for name, count in counts.items() if "." in name})

    def cpu_seconds(self) -> float:
        """Return the process's user and system time so far."""
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _ask(self, path: str, body: bytes | None = None) -> dict[str, int]:
        with urllib.request.urlopen(self.url + path, body, timeout=60) as said:
            return json.load(said)  # type: ignore[no-any-return]


@contextmanager
def running(latency_ms: float = 0.0) -> Iterator[SmallCloud]:
    """Run a stand-in for the block."""
    command = module_command("bench.small_cloud", str(latency_ms))
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield SmallCloud(f"http://127.0.0.1:{process.stdout.readline().strip()}", process.pid)
    finally:
        process.communicate()


@contextmanager
def small_cloud(latency_ms: float = 0.0) -> Iterator[SmallCloud]:
    """Run a stand-in for the block, and direct this process's clients to it by AWS's own environment variables.

    The variables are not restored.
    """
    with running(latency_ms) as cloud:
        os.environ |= cloud.environ
        yield cloud
