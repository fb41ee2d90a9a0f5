"""Run AWS for the tests: moto's server as a process on loopback, corrected where it differs from AWS.

The server and its corrections are in `moto_server` and the modules `moto_*`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from core.aws.clients import Clients

REGION = "eu-central-1"
_names = count(1)


CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""The credentials of AWS's own examples, as environment variables."""


@dataclass
class Cloud:
    """The running cloud. `environ` leads a process to it: credentials, region, endpoint."""

    endpoint: str
    environ: dict[str, str]
    ahead_s: float = 0.0
    """How far the clock of queues and instances is ahead."""
    _clients: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def clients(self) -> Clients:
        """The production code's clients."""
        return clients_of(self.endpoint)

    def client(self, service: str) -> Any:
        """Return a plain boto3 client, with which a test prepares and inspects the cloud."""
        if service not in self._clients:
            self._clients[service] = _session().client(service, endpoint_url=self.endpoint)
        return self._clients[service]

    def name(self, stem: str) -> str:
        """Return a name of a bucket, queue or deployment that no other test has."""
        return f"{stem}-{next(_names)}"

    def pass_time(self, seconds: float) -> None:
        """Set the clock of all queues and instances ahead."""
        request = urllib.request.Request(f"{self.endpoint}/tagfleet/pass-time", data=str(seconds).encode())
        urllib.request.urlopen(request).close()
        self.ahead_s += seconds

    def ec2(self, deployment: str, **wishes: object) -> None:
        """Set the faults of EC2 for one deployment: see `moto_ec2.Faults`."""
        body = json.dumps({"deployment": deployment, **wishes}).encode()
        urllib.request.urlopen(urllib.request.Request(f"{self.endpoint}/tagfleet/ec2", data=body)).close()


def clients_of(endpoint: str, **options: Any) -> Clients:
    """Make the production code's clients for an endpoint, with the options of `core.aws.clients.Clients`."""
    from core.aws.clients import Clients

    return Clients(REGION, session=_session(), endpoint=endpoint, **options)


@cache
def _session() -> Any:
    import boto3  # takes a third of a second, which most test runs can save

    return boto3.Session(
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        region_name=REGION,
    )


@contextmanager
def running() -> Iterator[Cloud]:
    """Run the server for the block. It also ends when this process is killed."""
    program = Path(__file__).with_name("moto_server.py")
    process = subprocess.Popen(
        [sys.executable, program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    try:
        port = process.stdout.readline().strip()
        assert port, f"moto's server did not start; see what {program} says"
        endpoint = f"http://127.0.0.1:{port}"
        yield Cloud(endpoint, {"AWS_ENDPOINT_URL": endpoint, **CREDENTIALS})
    finally:
        process.communicate()
