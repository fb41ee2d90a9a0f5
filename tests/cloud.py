"""A cloud for the tests: moto's server, as a process of its own on loopback, put right where it differs from AWS."""

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
"""Those of AWS's own examples, as a process gets them."""


@dataclass
class Cloud:
    """`environ` is what a process needs to see this cloud: credentials, region, endpoint."""

    endpoint: str
    environ: dict[str, str]
    ahead_s: float = 0.0
    """How far the clock of its queues is ahead."""
    _clients: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def clients(self) -> Clients:
        """Clients as the production code has them."""
        return clients_of(self.endpoint)

    def client(self, service: str) -> Any:
        """A plain client of boto3's, for what a test looks at or makes beforehand."""
        if service not in self._clients:
            self._clients[service] = _session().client(service, endpoint_url=self.endpoint)
        return self._clients[service]

    def name(self, stem: str) -> str:
        """A name that no other test has: of a bucket, a queue, a deployment."""
        return f"{stem}-{next(_names)}"

    def pass_time(self, seconds: float) -> None:
        """Set the clock of all queues and instances ahead."""
        request = urllib.request.Request(f"{self.endpoint}/tagfleet/pass-time", data=str(seconds).encode())
        urllib.request.urlopen(request).close()
        self.ahead_s += seconds

    def ec2(self, deployment: str, **wishes: object) -> None:
        """Have EC2 fail for one deployment, or mend it again: see `moto_ec2.Faults`."""
        body = json.dumps({"deployment": deployment, **wishes}).encode()
        urllib.request.urlopen(urllib.request.Request(f"{self.endpoint}/tagfleet/ec2", data=body)).close()


def clients_of(endpoint: str, **options: Any) -> Clients:
    """`options` as for `core.aws.clients.Clients`."""
    from core.aws.clients import Clients

    return Clients(REGION, session=_session(), endpoint=endpoint, **options)


@cache
def _session() -> Any:
    import boto3  # a third of a second that most selections of tests need not wait for

    return boto3.Session(
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        region_name=REGION,
    )


@contextmanager
def running() -> Iterator[Cloud]:
    """Starts the server, waits until it answers, and ends it; it also ends when this process is killed."""
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
