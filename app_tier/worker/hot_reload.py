"""A pool's tagger may get a successor while a worker serves: it is brought to life beside the one that works."""

from __future__ import annotations

import threading
from collections.abc import Callable

from app_tier.taggers import Choice, Tagger
from core import telemetry
from core.errors import Unavailable, describe_error


class Succession:
    """Whoever owns it calls `look` often. `clock` is monotonic; a successor is asked for every `look_s` seconds.

    `notice` says, for people, why there is none though there should be one.
    A successor that cannot be loaded is left alone until there is another one, or it was put into the store again: the
    old one goes on.
    """

    def __init__(self, first: Choice, choose: Callable[[], Choice], clock: Callable[[], float], look_s: float) -> None:
        self.notice = ""
        self._serves = first
        self._choose = choose
        self._clock = clock
        self._look_s = look_s
        self._looked_at = clock()
        self._refused: tuple[str, str] | None = None  # its name and content
        self._loading: threading.Thread | None = None
        self._ready: tuple[Choice, Tagger] | None = None

    @property
    def serves(self) -> Choice:
        """What the tagger that works was chosen as."""
        return self._serves

    def look(self) -> Tagger | None:
        """A successor that is ready, once: from now on it is the one that serves. Never waits."""
        if self._ready is not None:
            (self._serves, tagger), self._ready = self._ready, None
            return tagger
        idle = self._loading is None or not self._loading.is_alive()
        if idle and self._clock() - self._looked_at >= self._look_s:
            self._looked_at = self._clock()
            self._loading = threading.Thread(target=self._prepare, daemon=True, name="successor")
            self._loading.start()
        return None

    def _prepare(self) -> None:
        try:
            if self._serves.current():
                self.notice, self._refused = "", None
                return
            choice = self._choose()
            found = choice.name, choice.content()
        except Unavailable:
            return  # the store is away, which the pipeline notices as well
        except Exception as error:  # noqa: BLE001  # a full disk, say; whatever it is, the one that works goes on
            self.notice = f"{self._serves.name} goes on: {describe_error(error)}"
            return
        if choice.notice and not self._serves.notice:
            self.notice = f"{self._serves.name} goes on, as what was asked for is gone: {choice.notice}"
            return  # a fallback is better than nothing, not than the tagger itself
        if found == self._refused:
            return
        try:
            tagger = choice.load()
        except Unavailable:
            return
        except Exception as error:  # noqa: BLE001  # whatever ails the successor must not end the one that works
            self._refused = found
            what = describe_error(error)
            self.notice = f"{self._serves.name} goes on, as {choice.name} cannot be loaded: {what}"
            telemetry.logger().error("a new version cannot be loaded", version=choice.name, why=what)
            return
        self.notice, self._refused = "", None
        self._ready = choice, tagger
