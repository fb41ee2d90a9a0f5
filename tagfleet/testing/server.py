"""Serve a WSGI application on a loopback port; the server can stop and start again at the same address."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

_POLL_S = 0.02


class _Quiet(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:
        pass


class LoopbackServer:
    """Serves a WSGI application on a free loopback port, which it keeps until `close`."""

    def __init__(self, application: Callable[..., Any]) -> None:
        self._application = application
        self._server: BaseWSGIServer | None = None
        self._thread: threading.Thread | None = None
        self._address = socket.socket()  # always bound, so that nobody else gets the port while the server is stopped
        self._address.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._address.bind(("127.0.0.1", 0))
        self.port: int = self._address.getsockname()[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        server = make_server("127.0.0.1", self.port, self._application, threaded=True, request_handler=_Quiet)
        server.daemon_threads = True  # type: ignore[attr-defined]  # a mixin's attribute
        server.block_on_close = False  # type: ignore[attr-defined]
        self._server = server
        self._thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": _POLL_S}, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop listening. Requests in progress go on; event streams end once the application says so."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._server = None

    def close(self) -> None:
        """Stop, and release the port."""
        self.stop()
        self._address.close()
