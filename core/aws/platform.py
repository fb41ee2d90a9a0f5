"""The platform of a deployment on AWS: S3, SQS, EC2."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence

from config.settings import Settings
from core.aws.clients import Clients
from core.aws.fleet import DEPLOYMENT_TAG, TOKEN_TAG, Ec2Fleet, open_fleet
from core.aws.metadata import Ec2Machine
from core.aws.metrics import CloudWatchMetrics
from core.aws.queue import SqsQueue
from core.aws.store import S3Store


class AwsPlatform:
    """Opens store, queues, fleet and metrics by the names in the settings' section `[aws]`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.clients = Clients(settings.aws.region, threads=max(64, settings.web.threads))
        self._queues: dict[str, SqsQueue] = {}
        self._lock = threading.Lock()

    def store(self) -> S3Store:
        aws = self._settings.aws
        return S3Store(self.clients, input_bucket=aws.input_bucket, output_bucket=aws.output_bucket)

    def store_place(self) -> str:
        bucket, endpoint = self._settings.aws.output_bucket, self.clients.s3.meta.endpoint_url
        return f"bucket {bucket} at {endpoint}"

    def queue(self, name: str) -> SqsQueue:
        """Return the queue, always the same object for a name: it remembers the queue's URL, which costs a request."""
        with self._lock:
            if name not in self._queues:
                timeout = self._settings.queue.visibility_timeout_s
                deployment = self._settings.aws.deployment
                self._queues[name] = SqsQueue(self.clients, deployment, name, visibility_timeout_s=timeout)
            return self._queues[name]

    def shrink_queues(self) -> int:
        """Return 0: SQS keeps its space to itself."""
        return 0

    def fleet(self, worker_command: Sequence[str], grace_s: float) -> Ec2Fleet:
        """Return the fleet. It ignores both arguments: the launch template says what an instance runs and how it ends.

        Its client has short time-outs: the controller asks again at its next tick, with the same token.
        """
        return open_fleet(Clients(self._settings.aws.region, read_s=15.0, attempts=2), self._settings)

    def machine(self) -> Ec2Machine:
        return Ec2Machine(os.environ)

    def launched(self, worker_id: str) -> bool:
        """Return whether this instance is `worker_id` and has the tags of our launches: token and deployment."""
        machine = self.machine()
        own = machine.tag(DEPLOYMENT_TAG) == self._settings.aws.deployment and bool(machine.tag(TOKEN_TAG))
        return own and machine.id == worker_id

    def metrics(self) -> CloudWatchMetrics:
        """Return metrics with their own client, whose short time-outs limit the wait for a CloudWatch that hangs."""
        clients = Clients(self._settings.aws.region, read_s=10.0, attempts=2)
        return CloudWatchMetrics(clients.cloudwatch, self._settings.aws.deployment)
