"""Replaces the tagger of a running worker: a new version is loaded beside the one that serves, then swapped in."""

from __future__ import annotations

import threading
from collections.abc import Callable

from app_tier.taggers import Tagger, TaggerHandle
from core import telemetry
from core.errors import Unavailable, describe_error


class HotReload:
    """Looks for a new version every `reload_s` seconds, in a thread of its own. `clock` is monotonic.

    `notice` says, for people, why a new version is not used. A version that cannot be loaded is not tried again until
    its files are put into the store again, or another version takes its place. The present one keeps serving.
    """

    def __init__(
        self, first: TaggerHandle, choose: Callable[[], TaggerHandle], clock: Callable[[], float], reload_s: float
    ) -> None:
        self.notice = ""
        self._serving = first
        self._choose = choose
        self._clock = clock
        self._reload_s = reload_s
        self._checked_at = clock()
        self._failed: tuple[str, str] | None = None  # name and content of the version that could not be loaded
        self._loading: threading.Thread | None = None
        self._ready: tuple[TaggerHandle, Tagger] | None = None

    @property
    def serving(self) -> TaggerHandle:
        """The handle of the tagger that serves."""
        return self._serving

    def poll(self) -> Tagger | None:
        """Return a new tagger once it is loaded, and count it as serving from now on. Never blocks."""
        if self._ready is not None:
            (self._serving, tagger), self._ready = self._ready, None
            return tagger
        idle = self._loading is None or not self._loading.is_alive()
        if idle and self._clock() - self._checked_at >= self._reload_s:
            self._checked_at = self._clock()
            self._loading = threading.Thread(target=self._check, daemon=True, name="hot reload")
            self._loading.start()
        return None

    def _check(self) -> None:
        """Load a new version if there is one."""
        try:
            if self._serving.current():
                self.notice, self._failed = "", None
                return
            handle = self._choose()
            version = handle.name, handle.content()
        except Unavailable:
            return  # the pipeline reports that the store does not answer
        except Exception as error:  # noqa: BLE001  # for example a full disk: the present tagger keeps serving
            self.notice = f"{self._serving.name} keeps serving: {describe_error(error)}"
            return
        if handle.notice and not self._serving.notice:
            # A fallback replaces a missing tagger, not one that works.
            self.notice = f"{self._serving.name} keeps serving, as the tagger asked for is gone: {handle.notice}"
            return
        if version == self._failed:
            return
        try:
            tagger = handle.load()
        except Unavailable:
            return
        except Exception as error:  # noqa: BLE001  # whatever is wrong with the new version, the present one serves
            self._failed = version
            what = describe_error(error)
            self.notice = f"{self._serving.name} keeps serving, as {handle.name} cannot be loaded: {what}"
            telemetry.logger().error("a new version cannot be loaded", version=handle.name, why=what)
            return
        self.notice, self._failed = "", None
        self._ready = handle, tagger
