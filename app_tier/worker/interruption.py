"""Keeps asking the machine whether it is about to be taken away, beside everything else that a worker does."""

from __future__ import annotations

import threading
from collections.abc import Callable

from core import telemetry
from core.errors import Unavailable
from core.storage.ports import Machine

_EVERY_S = 5.0  # spot instances are told two minutes before; AWS asks to look this often


class Watch:
    """Calls `leave` once, with the reason, in a thread of its own: an answer that takes long stalls nothing.

    `warn` is called once too, with the reason why the machine may be taken away later.
    """

    def __init__(
        self,
        machine: Machine,
        leave: Callable[[str], None],
        warn: Callable[[str], None],
        *,
        every_s: float = _EVERY_S,
    ) -> None:
        self._machine = machine
        self._leave = leave
        self._warn = warn
        self._every_s = every_s
        self._warned = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="departure", daemon=True)

    def __enter__(self) -> Watch:
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
                    telemetry.logger().warning("cannot ask whether this machine stays", why=str(error))
                silent = True
            else:
                silent = False
                if notice:
                    return self._leave(notice)
            self._ended.wait(self._every_s)
        return None

    def _ask(self) -> str:
        """Return the notice, and pass a risk on that is new. Raises Unavailable."""
        notice = self._machine.notice()
        if not notice and not self._warned and (risk := self._machine.risk()):
            self._warned = True
            self._warn(risk)
        return notice
