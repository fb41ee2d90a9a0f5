"""Inject faults of networks and services with a proxy between an AWS client and the tests' cloud."""

from __future__ import annotations

import http.client
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@dataclass
class Request:
    """A request. `operation` is SQS's, or S3's method with the names of its query: `PUT`, `POST ?delete`."""

    operation: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    """Keyed by names in lower case."""


@dataclass
class Answer:
    """The proxy answers this; the request does not reach the service."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


class Reset:
    """The connection breaks before the service has the request."""


class Lost:
    """The service handles the request, but its answer is lost."""


class Cut:
    """The connection breaks in the middle of the answer's body."""


class Short:
    """The answer ends in the middle of its body, in good order: fewer bytes come than its head announced."""


@dataclass
class Held:
    """The answer's body comes only once `until` is set."""

    until: threading.Event


@dataclass
class Slow:
    """The answer's body comes in ten pieces, with a pause before each."""

    pause_s: float


class Silence:
    """The service never answers."""


@dataclass
class Ignored:
    """The service gets the request without these headers, named in lower case."""

    headers: tuple[str, ...]


Fault = Answer | Reset | Lost | Cut | Short | Held | Slow | Silence | Ignored


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        fault = self.server.on(Request(self._operation(), body, headers))
        if isinstance(fault, Silence):
            self.server.ended.wait(30)
        if isinstance(fault, Silence | Reset):
            self._reset()
        elif isinstance(fault, Answer):
            self._say(fault.status, fault.headers, fault.body)
        else:
            status, headers, data = self._asked(body, fault.headers if isinstance(fault, Ignored) else ())
            if isinstance(fault, Lost):
                self._reset()
            else:
                self._say(status, headers, data, fault)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer  # noqa: N815

    def _operation(self) -> str:
        names = "&".join(part.partition("=")[0] for part in urlsplit(self.path).query.split("&") if part)
        target = self.headers.get("X-Amz-Target", "").rpartition(".")[2]
        return target or f"{self.command} ?{names}".removesuffix(" ?")

    def _asked(self, body: bytes, ignored: tuple[str, ...]) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(self.server.upstream, timeout=30)
        own = {name: value for name, value in self.headers.items() if name.lower() not in ignored}
        connection.request(self.command, self.path, body, own)
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return answer.status, dict(answer.getheaders()), data

    def _say(self, status: int, headers: dict[str, str], body: bytes, fault: Fault | None = None) -> None:
        own = {name: value for name, value in headers.items() if name.lower() not in _OF_A_CONNECTION}
        if self.command != "HEAD":
            own["Content-Length"] = str(len(body))
        self.send_response_only(status)
        for name, value in own.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.flush()
        for piece in self._pieces(body, fault) if self.command != "HEAD" else ():
            self.wfile.write(piece)
        if isinstance(fault, Cut):
            self._reset()
        elif isinstance(fault, Short):
            self.close_connection = True

    def _pieces(self, body: bytes, fault: Fault | None) -> Iterator[bytes]:
        if isinstance(fault, Slow):
            size = -(-len(body) // 10)
            for start in range(0, len(body), size):
                self.server.ended.wait(fault.pause_s)
                yield body[start : start + size]
        else:
            if isinstance(fault, Held):
                fault.until.wait(30)
            yield body[: len(body) // 2] if isinstance(fault, Cut | Short) else body

    def _reset(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = upstream
        self.on: Callable[[Request], Fault | None] = lambda request: None
        self.ended = threading.Event()

    def handle_error(self, *_: object) -> None:
        """Ignore it: some tests have clients that stop waiting."""


class Faulty:
    """The proxy. Faults apply to requests from then on; without any, requests pass."""

    def __init__(self, endpoint: str) -> None:
        self._server = _Server(urlsplit(endpoint).netloc)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def on(self, decide: Callable[[Request], Fault | None]) -> None:
        """Ask `decide` for the fault of each request; None lets the request pass."""
        self._server.on = decide

    @contextmanager
    def running(self) -> Iterator[Faulty]:
        """Serve on `endpoint` until the block ends."""
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield self
        finally:
            self._server.ended.set()
            self._server.shutdown()
            thread.join()
            self._server.server_close()

    def first(self, *faults: Fault, of: str = "") -> None:
        """Apply one fault to each of the next requests whose operation starts with `of`."""
        left = list(faults)

        def decide(request: Request) -> Fault | None:
            return left.pop(0) if left and request.operation.startswith(of) else None

        self.on(decide)

    def always(self, fault: Fault, of: str = "") -> None:
        """Apply the fault to every request whose operation starts with `of`."""
        self.on(lambda request: fault if request.operation.startswith(of) else None)


_OF_A_CONNECTION = frozenset({"connection", "content-length", "transfer-encoding", "keep-alive"})


def s3_error(status: int, code: str, message: str = "", extra: str = "", **headers: str) -> Answer:
    """Return an error as S3 writes it. `extra` is XML beside code and message."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message>{extra}</Error>"
    return Answer(status, body.encode(), {"Content-Type": "application/xml", **headers})


def sqs_error(status: int, code: str, message: str = "") -> Answer:
    """Return an error as SQS writes it."""
    body = json.dumps({"__type": f"com.amazonaws.sqs#{code}", "message": message})
    return Answer(status, body.encode(), {"Content-Type": "application/x-amz-json-1.0"})


def sqs_failed(ids: list[str], code: str, *, sender: bool) -> Answer:
    """Return SQS's answer to a batch of these entries, all of which failed."""
    failed = [{"Id": id_, "Code": code, "Message": code, "SenderFault": sender} for id_ in ids]
    body = json.dumps({"Successful": [], "Failed": failed})
    return Answer(200, body.encode(), {"Content-Type": "application/x-amz-json-1.0"})
