"""A small disk to fill: a tmpfs in this process's own mount namespace, which nobody else sees."""

from __future__ import annotations

import errno
import os
import subprocess
from contextlib import suppress
from pathlib import Path

from core.util.interpreter import again

_INSIDE = "TAGFLEET_CHAOS_INSIDE"
_PIECE = bytes(1 << 20)


def enter() -> None:
    """Restart this program as root of its own mount namespace; continue here where that is not allowed."""
    if os.environ.get(_INSIDE) or not _allowed():
        return
    command = ["unshare", "--map-root-user", "--mount", *again()]
    os.execvpe(command[0], command, {**os.environ, _INSIDE: "1"})


def _allowed() -> bool:
    try:
        trial = ["unshare", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
        return subprocess.run(trial, stderr=subprocess.DEVNULL, check=False).returncode == 0
    except FileNotFoundError:
        return False


class Disk:
    """`folder` on its own file system of `size_bytes`. `own` is False where that failed; then `fill` does nothing."""

    def __init__(self, folder: Path, size_bytes: int) -> None:
        self.folder = folder
        self.own = bool(os.environ.get(_INSIDE))
        self._ballast = folder / "ballast"
        if self.own:
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(folder)], check=True)

    def fill(self) -> None:
        """Leave no byte free."""
        if not self.own:
            return
        with self._ballast.open("ab", buffering=0) as file:
            for piece in (_PIECE, _PIECE[:4096]):
                try:
                    while file.write(piece) == len(piece):
                        pass
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise

    def empty(self) -> None:
        with suppress(FileNotFoundError):
            self._ballast.unlink()

    def __enter__(self) -> Disk:
        return self

    def __exit__(self, *_exception: object) -> None:
        """Unmount it, even while processes use it: the folder is empty again."""
        if self.own:
            subprocess.run(["umount", "--lazy", str(self.folder)], check=True)
