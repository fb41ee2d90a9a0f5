"""Make sure that `tagfleet up` can start: it holds the home folder alone, and its port is free."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.errors import TagfleetError
from core.util.private import private_folder_if_new

_LOCK = "up.lock"
_POLL_S = 0.05


class CannotStart(TagfleetError):
    """The deployment cannot start on this machine now."""


@contextmanager
def instance_lock(home: Path) -> Iterator[bool]:
    """Hold `home` for this process. Yield whether the last holder was killed. Raises CannotStart if it is held."""
    try:
        private_folder_if_new(home)
        fd = os.open(home / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CannotStart(f"cannot use {home} (setting home): {error.strerror}") from None
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotStart(f"`tagfleet up` runs already for {home}: {_read_owner(fd)}") from None
        yield os.fstat(fd).st_size > 0
        os.ftruncate(fd, 0)
    finally:
        os.close(fd)


def write_owner(home: Path, url: str) -> None:
    """Record this process and its address in `home`, for error messages and `read_address`."""
    (home / _LOCK).write_text(json.dumps({"pid": os.getpid(), "url": url}))


def read_address(home: Path) -> str | None:
    """Return the address of the deployment in `home`, even if its `up` was killed; None if it ended in order."""
    try:
        return str(json.loads((home / _LOCK).read_text())["url"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _read_owner(fd: int) -> str:
    try:
        owner = json.loads(os.pread(fd, 4096, 0))
        return f"process {owner['pid']}, {owner['url']}"
    except (ValueError, KeyError, TypeError):
        return "it is just starting"


def find_free_port(host: str, port: int, *, patience_s: float) -> int:
    """Return `port`, or a free one for 0, waiting up to `patience_s` if it is in use. Raises CannotStart."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
                return int(probe.getsockname()[1])
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise CannotStart(f"cannot listen on {host}:{port}: {error.strerror}") from None
            if time.monotonic() >= deadline:
                raise CannotStart(
                    f"port {port} of {host} is taken by another program; "
                    f"choose another port with --port or TAGFLEET_PORT, for example {port + 1}"
                ) from None
        time.sleep(_POLL_S)
