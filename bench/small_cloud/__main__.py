"""Serve S3 and SQS from memory on loopback until standard input closes.

    python -m bench.small_cloud LATENCY_MS

prints the port. `GET /_requests` answers how often each operation was requested, `POST /_control` changes the latency
and the faults (see `cloud.py`). Signatures are not checked, and objects stay until they are deleted.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading

from bench.small_cloud.cloud import Cloud
from bench.small_cloud.http import Connection

_BACKLOG = 1024


async def _serve(latency_ms: float) -> None:
    loop = asyncio.get_running_loop()
    cloud = Cloud(loop)
    cloud.control({"latency_ms": latency_ms})
    server = await loop.create_server(lambda: Connection(cloud.answer), "127.0.0.1", 0, backlog=_BACKLOG)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def _exit_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(_serve(float(sys.argv[1])))
