"""Asks the machine regularly whether it is about to be taken away."""

from __future__ import annotations

import threading
from collections.abc import Callable

from core import telemetry
from core.errors import Unavailable
from core.storage.ports import Machine

_INTERVAL_S = 5.0  # EC2 gives two minutes' notice; AWS recommends this interval


class InterruptionWatch:
    """Asks in a thread of its own, so that a slow answer delays nothing else.

    It calls `leave` once, with the reason, when the machine will be taken away, and `warn` once when it may be.
    """

    def __init__(
        self,
        machine: Machine,
        leave: Callable[[str], None],
        warn: Callable[[str], None],
        *,
        interval_s: float = _INTERVAL_S,
    ) -> None:
        self._machine = machine
        self._leave = leave
        self._warn = warn
        self._interval_s = interval_s
        self._warned = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="interruption", daemon=True)

    def __enter__(self) -> InterruptionWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    def _watch(self) -> None:
        silent = False
        while not self._ended.is_set():
            try:
                notice = self._ask()
            except Unavailable as error:
                if not silent:
                    telemetry.logger().warning("the machine does not say whether it stays", why=str(error))
                silent = True
            else:
                silent = False
                if notice:
                    return self._leave(notice)
            self._ended.wait(self._interval_s)
        return None

    def _ask(self) -> str:
        """Return the machine's notice, and report a new risk. Raises Unavailable."""
        notice = self._machine.notice()
        if not notice and not self._warned and (risk := self._machine.risk()):
            self._warned = True
            self._warn(risk)
        return notice
