"""What stands between a controller and its ports, and makes them fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from core.errors import Unavailable


class Crash(BaseException):
    """The controller's process is gone: nothing in it may catch this."""


class Fuse:
    """Stands before a port: counts its calls, breaks some, and ends the caller at the one that burns it down."""

    def __init__(self) -> None:
        self.left: int | None = None
        self.after = False
        self.broken: set[str] = set()
        self.calls: list[str] = []
        self.failed = 0
        """Calls that were not answered, for whatever reason."""

    def around(self, port: Any) -> Any:
        return _Guarded(port, self)

    def burn(self, after: bool) -> None:
        if self.left is not None and self.after is after:
            self.left -= 1
            if self.left <= 0:
                self.left = None
                raise Crash


class _Guarded:
    def __init__(self, port: Any, fuse: Fuse) -> None:
        self._port, self._fuse = port, fuse

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if not callable(found):
            return found
        call: Callable[..., Any] = found

        def guarded(*args: Any, **kwargs: Any) -> Any:
            fuse = self._fuse
            fuse.calls.append(name)
            try:
                if name in fuse.broken:
                    raise Unavailable(f"{name}: not now")
                fuse.burn(after=False)
                answer = call(*args, **kwargs)
                fuse.burn(after=True)
            except Unavailable:
                fuse.failed += 1
                raise
            return answer

        return guarded
