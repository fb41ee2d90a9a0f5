"""Inject random faults, one at a time, from a seed: kill a process or fill the disk for a while."""

from __future__ import annotations

import random
import threading
from collections import Counter

from bench.chaos.disk import Disk
from bench.deployment import Deployment, Process

_ROLES = ("worker", "worker", "controller", "collector", "web", "web worker", "tag")
_FULL_SHARE = 0.1
_FULL_S = (1.0, 4.0)


class Faults(threading.Thread):
    """Thread that injects faults until `stop`. `done` counts them by name."""

    def __init__(self, deployment: Deployment, disk: Disk, seed: int, every_s: tuple[float, float]) -> None:
        super().__init__(name="faults", daemon=True)
        self.done: Counter[str] = Counter()
        self._deployment = deployment
        self._disk = disk
        self._random = random.Random(seed)
        self._every_s = every_s
        self._stopped = threading.Event()
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            while not self._stopped.wait(self._random.uniform(*self._every_s)):
                if self._disk.own and (self._random.random() < _FULL_SHARE or not self.done["disk full"]):
                    self._full()
                else:
                    self._kill(self._random.choice(_ROLES))
        except BaseException as error:  # noqa: BLE001  # `stop` raises it
            self.failure = error

    def stop(self) -> None:
        """End the thread and wait for it. Raises the exception that ended it early, if any."""
        self._stopped.set()
        self.join()
        if self.failure:
            raise self.failure

    def _full(self) -> None:
        self._disk.fill()
        self.done["disk full"] += 1
        self._stopped.wait(self._random.uniform(*_FULL_S))
        self._disk.empty()

    def _kill(self, role: str) -> None:
        victims = self._found(role)
        if not victims:
            return
        try:
            self._random.choice(victims).kill()
        except ProcessLookupError:
            return  # it has just ended
        self.done[role] += 1

    def _found(self, role: str) -> list[Process]:
        web = self._deployment.find("web")
        masters = {process.pid for process in web}
        if role == "web worker":
            return [process for process in web if process.parent in masters]
        if role == "web":
            return [process for process in web if process.parent not in masters]
        return self._deployment.find(role)
