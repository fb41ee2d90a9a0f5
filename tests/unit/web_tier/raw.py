"""HTTP over raw sockets: what is sent is what the test says, byte by byte."""

from __future__ import annotations

import http.client
import io
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def closes(self) -> bool:
        return self.headers.get("Connection", "").lower() == "close"


class Raw:
    """One connection. What it raises is what the client of such a connection would meet."""

    def __init__(self, url: str, *, receive_buffer: int = 0) -> None:
        place = urlsplit(url)
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(120)
        self.socket.connect((place.hostname, place.port))
        self._file = self.socket.makefile("rb")

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self.socket.close()

    def send(self, *data: bytes) -> None:
        for one in data:
            self.socket.sendall(one)

    def answer(self, method: str = "GET") -> Answer:
        """The next answer, its interim ones included."""
        response = http.client.HTTPResponse(_KeptOpen(self._file), method=method)
        response.begin()
        return Answer(response.status, dict(response.getheaders()), response.read())

    def line(self) -> bytes:
        return self._file.readline()

    def at_end(self) -> bool:
        """Whether the server has closed the connection, waiting for it."""
        with suppress(ConnectionResetError):
            return not self._file.read(1)
        return True


class _KeptOpen:
    """A connection to http.client, which would close it after an answer that says so."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Unclosed(self._file), 1)


class _Unclosed(io.RawIOBase):
    def __init__(self, file: io.BufferedReader) -> None:
        super().__init__()
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, into: memoryview) -> int:
        data = self._file.read1(len(into))
        into[: len(data)] = data
        return len(data)


def head(method: str, path: str, version: str = "1.1", **fields: str) -> bytes:
    """A head for localhost; an underscore in a field's name stands for a hyphen."""
    lines = [f"{method} {path} HTTP/{version}", "Host: localhost"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def chunked(data: bytes, size: int = 50_000) -> bytes:
    chunks = [data[start : start + size] for start in range(0, len(data), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


def form(content: bytes, name: str = "a.jpg") -> tuple[str, bytes]:
    """Content type and body of an upload of one file."""
    body = b'--b\r\nContent-Disposition: form-data; name="files"; filename="%s"\r\n\r\n%s\r\n--b--\r\n'
    return "multipart/form-data; boundary=b", body % (name.encode(), content)
