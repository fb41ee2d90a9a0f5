"""A second controller whose clock is an hour ahead, as is that of its workers. It is started again too."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path

from bench.deployment import TAGFLEET, Deployment

_PAUSE_S = 0.5


class SkewedController(threading.Thread):
    """Keeps one running until `stop`; `ahead_s` is 0 where Debian's `libfaketime` is not installed: then none runs."""

    def __init__(self, deployment: Deployment, ahead_s: int = 3600) -> None:
        super().__init__(name="skewed controller", daemon=True)
        library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
        self.ahead_s = ahead_s if library else 0
        self._environ = {
            **deployment.environ,
            "LD_PRELOAD": str(library),
            "FAKETIME": f"+{ahead_s}s",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        self._stopped = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None

    def run(self) -> None:
        while self.ahead_s and not self._stopped.is_set():
            self._process = subprocess.Popen(
                [*TAGFLEET, "controller"], env=self._environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            self._process.wait()
            self._stopped.wait(_PAUSE_S)

    def stop(self) -> None:
        self._stopped.set()
        if self._process:
            self._process.terminate()
        self.join()
