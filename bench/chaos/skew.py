"""Run a second controller whose clock, and that of its workers, is an hour ahead."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Mapping

from bench.chaos.traps import with_inside
from bench.deployment import TAGFLEET, Deployment

_PAUSE_S = 0.5


def ahead(environ: Mapping[str, str], seconds: int) -> dict[str, str]:
    """Return an environment that sets the clock of a Python process and its children ahead.

    Debian's libfaketime is no alternative: every `time.sleep` fails under it.
    """
    return with_inside(environ, CLOCK_AHEAD_S=str(seconds))


class SkewedController(threading.Thread):
    """Thread that runs the controller, and restarts it whenever it ends, until `stop`."""

    def __init__(self, deployment: Deployment, ahead_s: int = 3600) -> None:
        super().__init__(name="skewed controller", daemon=True)
        self.ahead_s = ahead_s
        self._environ = ahead(deployment.environ, ahead_s)
        self._stopped = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None

    def run(self) -> None:
        while not self._stopped.is_set():
            self._process = subprocess.Popen(
                [*TAGFLEET, "controller"], env=self._environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            self._process.wait()
            self._stopped.wait(_PAUSE_S)

    def stop(self) -> None:
        """Terminate the controller and wait for the thread."""
        self._stopped.set()
        if self._process:
            self._process.terminate()
        self.join()
