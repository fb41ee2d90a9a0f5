"""The stand-in's HTTP, byte by byte."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any, cast

import pytest

from bench.small_cloud.http import Connection, Request, Respond, answer


class _Transport:
    def __init__(self) -> None:
        self.written = b""
        self.closed = False
        self._socket, self._other = socket.socketpair()

    def get_extra_info(self, name: str) -> socket.socket:
        return self._socket

    def write(self, data: bytes) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def end(self) -> None:
        self._socket.close()
        self._other.close()


class Client:
    """One connection. `send` sends bytes; `requests` are those that arrived and wait for their answer."""

    def __init__(self) -> None:
        self.transport = _Transport()
        self.requests: list[tuple[Request, Respond]] = []
        self._connection = Connection(lambda request, respond: self.requests.append((request, respond)))
        self._connection.connection_made(cast(Any, self.transport))

    def send(self, data: bytes, *, at_once: int = 0) -> None:
        for start in range(0, len(data), at_once or len(data)):
            self._connection.data_received(data[start : start + (at_once or len(data))])


@pytest.fixture
def client() -> Iterator[Client]:
    client = Client()
    yield client
    client.transport.end()


@pytest.mark.parametrize("at_once", [0, 1, 7])
def test_a_request_arrives_whole_however_its_bytes_come(client: Client, at_once: int) -> None:
    client.send(b"PUT /b/a%20k?x=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab\r\nc", at_once=at_once)
    [(request, _)] = client.requests
    assert (request.method, request.path, request.query, request.body) == ("PUT", "/b/a k", "x=1", b"ab\r\nc")
    assert request.headers["host"] == "h"


def test_the_next_request_is_read_after_the_answer(client: Client) -> None:
    client.send(b"GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\n")
    [(_, respond)] = client.requests
    respond(answer(200, None, b"1"), False)
    assert [request.path for request, _ in client.requests] == ["/a", "/b"]
    assert client.transport.written == b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1"


@pytest.mark.parametrize("at_once", [0, 1, 7])
def test_chunked_and_aws_chunked_bodies_are_decoded(client: Client, at_once: int) -> None:
    inner = b"3;chunk-signature=0\r\nabc\r\n2\r\nde\r\n0\r\nx-amz-checksum-crc32: 0\r\n\r\n"
    head = b"PUT /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Encoding: aws-chunked\r\n\r\n"
    client.send(head + f"{len(inner):x}\r\n".encode() + inner + b"\r\n0\r\n\r\n", at_once=at_once)
    [(request, _)] = client.requests
    assert request.body == b"abcde"


def test_a_client_that_expects_continue_gets_it_before_its_body(client: Client) -> None:
    client.send(b"PUT /b HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    assert client.transport.written == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert client.requests == []
    client.send(b"ab")
    assert client.requests[0][0].body == b"ab"


def test_nonsense_is_refused_and_ends_the_connection(client: Client) -> None:
    client.send(b"hello\r\n\r\n")
    assert client.transport.written.startswith(b"HTTP/1.1 400")
    assert client.transport.closed
