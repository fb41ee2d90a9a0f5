"""Run the peers as processes on loopback and send photos to them."""

from __future__ import annotations

import http.client
import json
import os
import queue
import secrets
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bench.deployment import wait_until
from bench.peers import environments, model

_ROOT = Path(__file__).parents[2]
_READY_S = 120
_ANSWER_S = 120
_MARK = "BENCH_PEER"
_BOUNDARY = "tagfleet-bench-peers"
_TITLES = {"litserve": "LitServe", "bentoml": "BentoML", "ray": "Ray Serve"}


@dataclass(frozen=True)
class Peer:
    """One server in one configuration. `batch` is the batch size; None keeps the server's default."""

    name: str
    engine: str
    batch: int | None
    multipart: bool

    @property
    def title(self) -> str:
        engine = "our engine" if self.engine == "openvino" else "torch"
        return f"{_TITLES[self.name]} {environments.version(self.name)}, {engine}"

    def command(self, python: Path, port: int, scratch: Path) -> list[str]:
        if self.name == "bentoml":
            serve = [str(python.with_name("bentoml")), "serve", "bench.peers.serve_bentoml:Tagger"]
            return [*serve, "--host", "127.0.0.1", "--port", str(port), "--working-dir", str(_ROOT)]
        return [str(python), "-P", "-m", f"bench.peers.serve_{self.name}", str(port), str(scratch)]


ENGINES = ("torch", "openvino")
PEERS = tuple(
    Peer(name, engine, batch, multipart=name != "ray")
    for engine, batch in zip(ENGINES, (None, 8), strict=True)
    for name in ("litserve", "bentoml", "ray")
)
RIVAL = next(peer for peer in PEERS if (peer.name, peer.engine) == ("litserve", "openvino"))
"""The fastest of them: the same engine behind the least code."""


class NotStarted(Exception):
    """A peer does not answer; the message is the end of its output."""


class Server:
    """One running peer. `end` finds its processes by their session or by a mark in their environment."""

    def __init__(self, peer: Peer, environ: Mapping[str, str], scratch: Path) -> None:
        """Start the peer. Raises environments.NotInstalled."""
        self.peer = peer
        self.port = _free_port()
        self._mark = secrets.token_hex(8)
        self._log = scratch / "log"
        scratch.mkdir()
        self._environ = {
            **os.environ,
            **environ,
            "PYTHONPATH": str(_ROOT),
            "TAGFLEET_HOME": str(scratch / "home"),
            "BENTOML_HOME": str(scratch / "bentoml"),
            "BENTOML_DO_NOT_TRACK": "True",
            "RAY_USAGE_STATS_ENABLED": "0",
            model.ENGINE: peer.engine,
            model.BATCH: str(peer.batch or ""),
            _MARK: self._mark,
        }
        command = peer.command(environments.python(peer.name), self.port, scratch / "ray")
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=_ROOT, env=self._environ, stdout=log, stderr=log, start_new_session=True
            )

    def wait(self, photo: bytes) -> list[str]:
        """Wait for the first answer and return its tags. Raises NotStarted."""
        deadline = time.monotonic() + _READY_S
        while time.monotonic() < deadline and self._process.poll() is None:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_READY_S)
            try:
                return self.ask(connection, photo)
            except (OSError, http.client.HTTPException, RuntimeError):
                time.sleep(0.3)
            finally:
                connection.close()
        said = self._log.read_text(errors="replace").strip().splitlines()[-1:] or ["nothing"]
        raise NotStarted(said[0])

    def ask(self, connection: http.client.HTTPConnection, photo: bytes) -> list[str]:
        """Return the tags of a photo. Raises RuntimeError if the answer is an error."""
        body, kind = (
            (_form(photo), f"multipart/form-data; boundary={_BOUNDARY}")
            if self.peer.multipart
            else (photo, "image/jpeg")
        )
        connection.request("POST", "/predict", body, {"Content-Type": kind})
        answer = connection.getresponse()
        data = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{self.peer.title} answered {answer.status}: {data[:200]!r}")
        found = json.loads(data)
        tags: list[str] = found["tags"] if isinstance(found, dict) else found[0]
        return tags

    def tag(self, photos: Sequence[bytes], threads: int) -> float:
        """Return the seconds for all photos from `threads` clients, one request at a time each. Raises RuntimeError."""
        waiting: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        for item in [*photos, *[None] * threads]:
            waiting.put(item)
        errors: list[Exception] = []

        def work() -> None:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_ANSWER_S)
            try:
                while (photo := waiting.get()) is not None:
                    self.ask(connection, photo)
            except Exception as error:  # noqa: BLE001  # told to the thread that waits
                errors.append(error)
            finally:
                connection.close()

        clients = [threading.Thread(target=work, daemon=True) for _ in range(threads)]
        started = time.perf_counter()
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        took = time.perf_counter() - started
        if errors:
            raise RuntimeError(f"{len(errors)} of {threads} clients failed: {errors[0]!r}")
        return took

    def end(self) -> None:
        """Kill the peer and all its processes."""

        def none_left() -> bool:
            found = self._processes()
            for pid in found:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return not found

        wait_until(none_left)
        self._process.wait()

    def _processes(self) -> list[int]:
        mark = f"{_MARK}={self._mark}".encode()
        found = []
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                state, _, _, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
                ours = int(session) == self._process.pid or mark in (folder / "environ").read_bytes().split(b"\0")
            except OSError:
                continue  # it has just ended, or belongs to another user
            if ours and state != "Z":
                found.append(int(folder.name))
        return found


def _form(photo: bytes) -> bytes:
    head = 'Content-Disposition: form-data; name="image"; filename="photo.jpg"\r\nContent-Type: image/jpeg'
    return b"".join((f"--{_BOUNDARY}\r\n{head}\r\n\r\n".encode(), photo, f"\r\n--{_BOUNDARY}--\r\n".encode()))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
