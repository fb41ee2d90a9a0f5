"""Run the web tier: gunicorn with one or several processes of `web_tier.server`.

1. The listener, the catalogue's migration and the shared memory (`web_tier.server.host`) are made before the fork.
2. All processes accept connections from one listener. So those of a process that hangs or starts go to the others.
3. Each process makes its own connections to catalogue, store and queues, after the fork.
4. Gunicorn replaces a process that ends or gives no sign of life, while the others answer.
"""

from __future__ import annotations

import math
import resource
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
from core.util.atomic import atomic_write
from core.wiring import Backend
from web_tier.app import create_app
from web_tier.catalog.database import catalog_url, migrate
from web_tier.http import network_policy
from web_tier.server.host import Host
from web_tier.server.host_memory import SLOTS
from web_tier.server.worker import BACKLOG, Worker

ADDRESS_FILE = "web.address"
"""File in the home folder with the server's URL, while it runs."""

_GRACE_S = 5
_KEEPALIVE_S = 15
_UNSENT = 128 * 1024
"""Bytes of an answer that the kernel may buffer unsent; its default is megabytes per slow reader."""
_OWN_FILES = 192
"""Open files that the process needs besides its connections and threads: logs, catalogue, store."""
_FILES_OF_A_THREAD = 3


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; then requests in progress get some seconds, and event streams end.

    Raises BadSetting if the host may not be served (without a key, for instance), TagfleetError if the port is taken,
    and Unavailable if the home folder or the store cannot be used.
    """
    network_policy.check(settings)
    connections = _most_connections(settings)
    _ = Backend(settings).store  # fails here with one line; in gunicorn's process it would be a traceback
    with _listen(settings) as listener:
        migrate(catalog_url(settings))
        host, port = listener.getsockname()[:2]
        url = network_policy.url_of(host, port)
        address = settings.home / ADDRESS_FILE
        try:
            atomic_write(address, f"{url}\n", sole_writer=True, make_parents=True)
        except OSError as error:
            raise Unavailable(f"cannot write to the home folder {settings.home}: {error.strerror}") from None
        logger().info("listening", url=url)
        _Server(settings, listener.detach(), address, connections).run()


def _listen(settings: Settings) -> socket.socket:
    host, port = settings.host, settings.port
    address = network_policy.address_of(host)
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT)
        listener.bind((str(address), port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise TagfleetError(
            f"cannot listen on {host}:{port}: {error.strerror}; stop what uses it, or choose another TAGFLEET_PORT"
        ) from None
    return listener


def _most_connections(settings: Settings) -> int:
    """Raise the limit of open files as far as allowed; return how many connections it permits to each process."""
    web = settings.web
    own = _OWN_FILES + _FILES_OF_A_THREAD * -(-web.threads // web.processes)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = web.connections + own
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if limit > soft != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    else:
        limit = wanted if soft == resource.RLIM_INFINITY else soft
    most = min(web.connections, max(limit - own, limit // 2))
    if most * web.processes < web.connections:
        logger().warning(
            "fewer connections than web.connections says: the limit of open files is low (ulimit -n)",
            connections=most * web.processes,
            open_files=limit,
        )
    return most


class _Server(BaseApplication):  # type: ignore[misc]  # gunicorn brings no types
    def __init__(self, settings: Settings, listener: int, address: Path, most_connections: int) -> None:
        self.settings = settings
        self.most_connections = most_connections
        self.host = Host.create(settings.web)
        self._listener = listener
        self._address = address
        self._stopping: Callable[[], bool] = lambda: False
        super().__init__()

    def load_config(self) -> None:
        options = {
            "bind": f"fd://{self._listener}",
            "workers": self.settings.web.processes,
            "worker_class": Worker,
            "asgi_lifespan": "off",
            "asgi_loop": "auto",  # uvloop, which is faster, if it is installed
            "http_parser": "python",
            "timeout": math.ceil(self.settings.web.hung_s),
            "graceful_timeout": _GRACE_S,
            "keepalive": _KEEPALIVE_S,
            "accesslog": None,
            "logger_class": _Log,
            "control_socket_disable": True,
            "pre_request": _nothing,  # the default writes a debug line per request
            "pre_fork": self._forking,
            "post_fork": self._forked,
            "child_exit": self._child_ended,
            "on_exit": self._ended,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        return create_app(
            Backend(self.settings),
            self.settings,
            time.time,
            host=self.host,
            stopping=lambda: self._stopping(),
            watch=True,
        )

    def _forking(self, server: Any, worker: Any) -> None:
        taken = {other.slot for other in server.WORKERS.values()}
        worker.slot = next(slot for slot in range(SLOTS) if slot not in taken)
        self.host.memory.clear(worker.slot)

    def _forked(self, _server: Any, worker: Any) -> None:
        self.host.memory.enter(worker.slot)
        self._stopping = lambda: not worker.alive

    def _child_ended(self, _server: Any, worker: Any) -> None:
        self.host.memory.clear(worker.slot)

    def _ended(self, _server: Any) -> None:
        with suppress(OSError):
            self._address.unlink()


def _nothing(_worker: Any, _request: Any) -> None:
    pass


class _Log(Logger):  # type: ignore[misc]  # gunicorn brings no types
    """Writes gunicorn's messages to the log. Those about its starts and stops are for debugging."""

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
        if str(msg).startswith("WORKER TIMEOUT"):
            logger().error("the serving process did not respond for too long and is replaced", pid=args[0])
        else:
            logger().error(_words(msg, args))

    def exception(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        logger().exception(_words(msg, args))


def _words(msg: Any, args: tuple[Any, ...]) -> str:
    return str(msg) % args if args else str(msg)
