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
    """Uses the names in the settings' section `[aws]`."""

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
        """Return the one object for each name, which remembers the queue's URL: asking for that costs a request."""
        with self._lock:
            if name not in self._queues:
                timeout = self._settings.queue.visibility_timeout_s
                deployment = self._settings.aws.deployment
                self._queues[name] = SqsQueue(self.clients, deployment, name, visibility_timeout_s=timeout)
            return self._queues[name]

    def fleet(self, worker_command: Sequence[str], grace_s: float) -> Ec2Fleet:
        """Return the fleet. What an instance runs, and how it ends, is in its launch template, not in these arguments.

        Its client gives up soon: the controller asks again at its next tick, with the same token.
        """
        return open_fleet(Clients(self._settings.aws.region, read_s=15.0, attempts=2), self._settings)

    def machine(self) -> Ec2Machine:
        return Ec2Machine(os.environ)

    def launched(self, worker_id: str) -> bool:
        """Return whether this instance's tags are those of a launch of ours: a token and the deployment's name."""
        machine = self.machine()
        own = machine.tag(DEPLOYMENT_TAG) == self._settings.aws.deployment and bool(machine.tag(TOKEN_TAG))
        return own and machine.id == worker_id

    def metrics(self) -> CloudWatchMetrics:
        """Return metrics with a client of their own, which soon gives up on a CloudWatch that hangs."""
        clients = Clients(self._settings.aws.region, read_s=10.0, attempts=2)
        return CloudWatchMetrics(clients.cloudwatch, self._settings.aws.deployment)
