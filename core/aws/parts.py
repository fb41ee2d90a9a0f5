"""A deployment on AWS: S3, SQS, EC2."""

from __future__ import annotations

import os
from collections.abc import Sequence

from config.settings import Settings
from core.aws.clients import Clients
from core.aws.metadata import Ec2Machine
from core.aws.metrics import CloudWatchMetrics
from core.ports import Fleet, ObjectStore, Queue


class AwsParts:
    """Made from the names in the settings' section `[aws]`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def store(self) -> ObjectStore:
        raise NotImplementedError

    def queue(self, name: str) -> Queue:
        raise NotImplementedError

    def fleet(self, worker_command: Sequence[str], grace_s: float) -> Fleet:
        raise NotImplementedError

    def machine(self) -> Ec2Machine:
        return Ec2Machine(os.environ)

    def metrics(self) -> CloudWatchMetrics:
        """By a client of its own: a CloudWatch that hangs is given up soon, as nobody waits for it."""
        clients = Clients(self._settings.aws.region, read_s=10.0, attempts=2)
        return CloudWatchMetrics(clients.cloudwatch, self._settings.aws.deployment)
