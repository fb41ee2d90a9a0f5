"""Run ministack's server as a process on loopback that ends with the tests."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from bench.deployment import wait_until
from tests.cloud import REGION, Cloud

PYTHON = Path(sys.prefix) / "ministack" / "bin" / "python"
"""Made by `make test`."""
_SERVER = Path(__file__).parents[1] / "ministack_server.py"
_STARTS = 5


@contextmanager
def running(folder: Path) -> Iterator[Cloud]:
    """It writes its log to `folder`, and keeps nothing on a disk. Started again where its port was taken meanwhile."""
    with ExitStack() as stack:
        for _ in range(_STARTS):
            with suppress(_Ended):
                cloud = stack.enter_context(_started(folder))
                break
        else:
            raise AssertionError(f"ministack does not start: {(folder / 'ministack.log').read_text()}")
        yield cloud


class _Ended(Exception):
    """The server ended before it answered."""


@contextmanager
def _started(folder: Path) -> Iterator[Cloud]:
    port = _free_port()
    endpoint = f"http://127.0.0.1:{port}"
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PYTHON"))},
        "BIND_HOST": "127.0.0.1",
        "MINISTACK_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "IOT_MTLS_ENABLED": "0",
        "TMPDIR": str(folder),
        "HOME": str(folder),
    }
    with (folder / "ministack.log").open("wb") as log:
        process = subprocess.Popen(
            [PYTHON, _SERVER], stdin=subprocess.PIPE, stdout=log, stderr=log, env=environ, cwd=folder
        )
        try:
            wait_until(lambda: process.poll() is not None or _answers(endpoint), timeout_s=180)
            if process.poll() is not None:
                raise _Ended
            yield Cloud(
                endpoint,
                {
                    "AWS_ENDPOINT_URL": endpoint,
                    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
                    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
                    "AWS_DEFAULT_REGION": REGION,
                    "AWS_EC2_METADATA_DISABLED": "true",
                },
            )
        finally:
            process.terminate()
            process.communicate()


def _answers(endpoint: str) -> bool:
    try:
        urllib.request.urlopen(f"{endpoint}/_ministack/health", timeout=20).close()
    except urllib.error.HTTPError as error:
        error.close()
    except OSError:
        return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
