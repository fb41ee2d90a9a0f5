"""Provide a small disk that can be filled: a tmpfs in a private mount namespace, invisible to other processes."""

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
    """Restart this program as root of a new mount namespace. Return if it is already there or that is not allowed."""
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
    """Mounts a file system of `size_bytes` on `folder`.

    Outside a mount namespace of `enter` nothing is mounted: `own` is False, and `fill` does nothing.
    """

    def __init__(self, folder: Path, size_bytes: int) -> None:
        self.folder = folder
        self.own = bool(os.environ.get(_INSIDE))
        self._ballast = folder / "ballast"
        if self.own:
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(folder)], check=True)

    def fill(self) -> None:
        """Write a file until no byte is free."""
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
        """Remove the file that fills the disk."""
        with suppress(FileNotFoundError):
            self._ballast.unlink()

    def __enter__(self) -> Disk:
        return self

    def __exit__(self, *_exception: object) -> None:
        """Unmount lazily, because a process may still use it. The folder underneath is empty."""
        if self.own:
            subprocess.run(["umount", "--lazy", str(self.folder)], check=True)
