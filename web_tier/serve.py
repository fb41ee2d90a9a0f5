"""The web tier as a process: gunicorn with threads."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger

from config.settings import Settings
from core.errors import TagfleetError, Unavailable
from core.telemetry import logger
from core.wiring import Backend
from web_tier import exposure
from web_tier.app import create_app
from web_tier.database import catalog_url, migrate

ADDRESS_FILE = "web.address"
"""In the home folder, while the server runs: its URL, for those who want to find it."""

_GRACE_S = 5
_BACKLOG = 512


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; then requests in hand get some seconds, and event streams end.

    Raises BadSetting where the host may not be served, for want of a key for instance, TagfleetError where the port
    is taken, Unavailable where the home folder or the store cannot be used.
    """
    exposure.check(settings)
    _ = Backend(settings).store  # in a process of gunicorn's a bucket without a name would be a traceback
    with _listen(settings) as listener:
        migrate(catalog_url(settings))
        host, port = listener.getsockname()[:2]
        url = exposure.url_of(host, port)
        address = settings.home / ADDRESS_FILE
        try:
            settings.home.mkdir(parents=True, exist_ok=True)
            half = address.with_suffix(".new")
            half.write_text(url + "\n")
            half.replace(address)  # whoever finds the file finds the whole address in it
        except OSError as error:
            raise Unavailable(f"cannot write to the home folder {settings.home}: {error.strerror}") from None
        logger().info("listening", url=url)
        _Server(settings, listener.detach(), address).run()


def _listen(settings: Settings) -> socket.socket:
    host, port = settings.host, settings.port
    address = exposure.address_of(host)
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((str(address), port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise TagfleetError(
            f"cannot listen on {host}:{port}: {error.strerror}; stop what uses it, or choose another TAGFLEET_PORT"
        ) from None
    return listener


class _Server(BaseApplication):  # type: ignore[misc]  # gunicorn brings no types
    def __init__(self, settings: Settings, listener: int, address: Path) -> None:
        self._settings = settings
        self._listener = listener
        self._address = address
        self._stopping: Callable[[], bool] = lambda: False
        super().__init__()

    def load_config(self) -> None:
        options = {
            "bind": f"fd://{self._listener}",
            "workers": 1,
            "worker_class": "gthread",
            "threads": self._settings.web.threads,
            "worker_connections": self._settings.web.threads + 200,
            "timeout": 120,
            "graceful_timeout": _GRACE_S,
            "keepalive": 15,
            "accesslog": None,
            "logger_class": _Log,
            "control_socket_disable": True,
            "post_fork": self._forked,
            "on_exit": self._ended,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        return create_app(
            Backend(self._settings), self._settings, time.time, stopping=lambda: self._stopping(), watch=True
        )

    def _forked(self, _server: Any, worker: Any) -> None:
        self._stopping = lambda: not worker.alive

    def _ended(self, _server: Any) -> None:
        with suppress(OSError):
            self._address.unlink()


class _Log(Logger):  # type: ignore[misc]  # gunicorn brings no types
    """Gunicorn's words in our log; what it says of its own starts and stops is for debugging."""

    def setup(self, cfg: Any) -> None:
        pass

    def reopen_files(self) -> None:
        pass

    def close_on_exec(self) -> None:
        pass

    def access(self, resp: Any, req: Any, environ: Any, request_time: Any) -> None:
        pass

    def debug(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        logger().debug(_words(msg, args))

    def info(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        logger().debug(_words(msg, args))

    def log(self, lvl: Any, msg: Any, *args: Any, **kwargs: Any) -> None:
        logger().debug(_words(msg, args))

    def warning(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        logger().warning(_words(msg, args))

    def error(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        logger().error(_words(msg, args))

    def critical(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        logger().error(_words(msg, args))

    def exception(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        logger().exception(_words(msg, args))


def _words(msg: Any, args: tuple[Any, ...]) -> str:
    return str(msg) % args if args else str(msg)
