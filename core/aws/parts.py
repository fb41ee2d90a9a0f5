"""A deployment on AWS: S3, SQS, EC2."""

from __future__ import annotations

from collections.abc import Sequence

from config.settings import Settings
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
