"""A proxy between a client of AWS and the tests' cloud, which does to requests what networks and services do."""

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
    """`operation` is SQS's, or S3's method with the names of the query: `PUT`, `POST ?delete`."""

    operation: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    """By their names in lower case."""


@dataclass
class Answer:
    """In place of the service's own; the request does not reach it."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


class Reset:
    """The connection breaks before the service has the request."""


class Lost:
    """The service does what it is asked, and its answer is lost."""


class Cut:
    """The answer breaks off in the middle of its body."""


class Silence:
    """The service never answers."""


@dataclass
class Ignored:
    """The service does what it is asked as if these headers, in lower case, were not there."""

    headers: tuple[str, ...]


Fault = Answer | Reset | Lost | Cut | Silence | Ignored


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: object) -> None:
        """Nothing is written down."""

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
                self._say(status, headers, data, cut=isinstance(fault, Cut))

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

    def _say(self, status: int, headers: dict[str, str], body: bytes, *, cut: bool = False) -> None:
        own = {name: value for name, value in headers.items() if name.lower() not in _OF_A_CONNECTION}
        if self.command != "HEAD":
            own["Content-Length"] = str(len(body))
        self.send_response_only(status)
        for name, value in own.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if cut else body)
        if cut:
            self._reset()

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
        """A client that waits no longer is what some tests are about."""


class Faulty:
    """`on` is asked what happens to each request; None lets it pass."""

    def __init__(self, endpoint: str) -> None:
        self._server = _Server(urlsplit(endpoint).netloc)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def on(self, decide: Callable[[Request], Fault | None]) -> None:
        self._server.on = decide

    @contextmanager
    def running(self) -> Iterator[Faulty]:
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
        """These happen to the next requests of the operation, one each."""
        left = list(faults)

        def decide(request: Request) -> Fault | None:
            return left.pop(0) if left and request.operation.startswith(of) else None

        self.on(decide)

    def always(self, fault: Fault, of: str = "") -> None:
        self.on(lambda request: fault if request.operation.startswith(of) else None)


_OF_A_CONNECTION = frozenset({"connection", "content-length", "transfer-encoding", "keep-alive"})


def s3_error(status: int, code: str, message: str = "", extra: str = "", **headers: str) -> Answer:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message>{extra}</Error>"
    return Answer(status, body.encode(), {"Content-Type": "application/xml", **headers})


def sqs_error(status: int, code: str, message: str = "") -> Answer:
    body = json.dumps({"__type": f"com.amazonaws.sqs#{code}", "message": message})
    return Answer(status, body.encode(), {"Content-Type": "application/x-amz-json-1.0"})


def sqs_failed(ids: list[str], code: str, *, sender: bool) -> Answer:
    """Of a batch of which these entries failed and no other was asked for."""
    failed = [{"Id": id_, "Code": code, "Message": code, "SenderFault": sender} for id_ in ids]
    body = json.dumps({"Successful": [], "Failed": failed})
    return Answer(200, body.encode(), {"Content-Type": "application/x-amz-json-1.0"})
