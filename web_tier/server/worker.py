"""The web process: gunicorn's asyncio worker, with this package's connections, threads and streams."""

from __future__ import annotations

import asyncio
import os
import signal

from gunicorn.workers.gasgi import ASGIWorker

from config.settings import Settings, WebSettings
from core.telemetry import lines_dropped
from web_tier.server.bridge import Bridge
from web_tier.server.client_address import Proxies
from web_tier.server.connections import Connections
from web_tier.server.host import Host
from web_tier.server.protocol import Deadlines, GuardedProtocol
from web_tier.server.streams import Streams
from web_tier.server.threads import Threads

BACKLOG = 2048
_ACCEPTED_TOGETHER = 64
"""Connections accepted in one turn of the event loop. The limit may be exceeded by this many for a moment."""
STREAM_POLL_S = 0.15
_SWEEP_S = 1.0
_GATHERED = 64 << 20
"""Limit of the bytes of all bodies being gathered, in all processes."""


class Worker(ASGIWorker):  # type: ignore[misc]  # gunicorn brings no types
    """One of the web processes of a host.

    The gunicorn application must have `settings`, `host`, and `most_connections`, the number that open files allow.
    """

    _threads: Threads
    _streams: Streams
    _connections: Connections

    def load_wsgi(self) -> None:
        settings: Settings = self.app.settings
        web = settings.web
        host: Host = self.app.host
        threads = host.memory.share(web.threads)
        self._stopped = asyncio.Event()
        self._threads = Threads(threads)
        self._streams = Streams(self.loop, STREAM_POLL_S)
        self._connections = Connections(
            total=web.connections,
            most=self.app.most_connections,
            per_address=web.connections_per_address,
            host=host,
            clock=self.loop.time,
        )
        self.asgi = Bridge(
            self.app.wsgi(),
            self._threads,
            self._streams,
            readers=max(1, threads // 2),
            most_gathered=host.memory.share(_GATHERED),
        )

    def handle_exit_signal(self) -> None:
        super().handle_exit_signal()
        self._stopped.set()

    def handle_quit_signal(self) -> None:
        super().handle_quit_signal()
        self._stopped.set()

    async def _serve(self) -> None:
        web: WebSettings = self.app.settings.web
        proxies = Proxies(web.proxy_networks)
        deadlines = _deadlines(web)

        def connection() -> GuardedProtocol:
            return GuardedProtocol(self, self._connections, deadlines, proxies)

        for sock in self.sockets:
            self.servers.append(await self.loop.create_server(connection, sock=sock.sock, backlog=_ACCEPTED_TOGETHER))
            sock.sock.listen(BACKLOG)
        while self.alive and self.ppid == os.getppid():
            if not self._threads.stuck:  # gunicorn replaces a worker that does not notify it
                self.notify()
            self._connections.sweep()
            self.app.host.lines_dropped.own = lines_dropped()
            try:
                async with asyncio.timeout(_SWEEP_S):
                    await self._stopped.wait()
            except TimeoutError:
                pass
        await self._shutdown()

    async def _shutdown(self) -> None:
        self.alive = False  # ends event streams and waiting requests
        for server in self.servers:
            server.close()
        self._connections.close_waiting()
        await super()._shutdown()
        self._threads.stop()
        self._streams.stop()

    def _cleanup(self) -> None:
        for number in (signal.SIGQUIT, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGWINCH):
            self.loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)  # a further signal would reach a closed event loop
        super()._cleanup()


def _deadlines(web: WebSettings) -> Deadlines:
    return Deadlines(
        head_s=web.head_s,
        stall_s=web.stall_s,
        slowest_bytes_per_s=web.slowest_bytes_per_s,
        send_stall_s=web.send_stall_s,
        linger_bytes=web.max_image_mb << 20,
    )
