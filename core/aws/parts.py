"""A deployment on AWS: S3, SQS, EC2."""

from __future__ import annotations

import os
from collections.abc import Sequence

from config.settings import Settings
from core.aws.metadata import Ec2Machine
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
