"""Failures over real connections, read from obstore's text into botocore's errors."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import obstore
import pytest
from botocore import exceptions as boto
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError
from obstore.store import S3Store

from core.aws.errors import code_of, status_of
from core.aws.obstore_errors import RAISED, read_error

KEY = "p/a b ü.jpg"


@contextmanager
def server(answer: bytes | None) -> Iterator[str]:
    """Say `answer` to each request, whatever it is, and hang up; say nothing at all if it is None."""
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    if answer is None:
                        ended.wait(30)
                    else:
                        connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/bucket"
        ended.set()
        listening.shutdown(socket.SHUT_RDWR)
    thread.join()


def said(status: str, body: str = "", *headers: str) -> bytes:
    head = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body.encode())}", "Connection: close"]
    return ("\r\n".join(head) + "\r\n\r\n" + body).encode()


def failure(endpoint: str, use: Callable[[S3Store], Any], key: str = KEY) -> Exception:
    store = S3Store(
        config={"bucket": "b", "endpoint": endpoint, "virtual_hosted_style_request": True, "region": "eu-central-1"}
        | {"access_key_id": "a", "secret_access_key": "b"},
        client_options={"allow_http": True, "read_timeout": "500ms", "timeout": "1h"},
        retry_config={"max_retries": 0},
    )
    with pytest.raises(RAISED) as caught:
        use(store)
    return read_error(caught.value, "GetObject", key)


def get(store: S3Store) -> bytes:
    return bytes(obstore.get(store, KEY).bytes())


def put(store: S3Store) -> object:
    return obstore.put(store, KEY, b"x", mode="create")


def put_over(store: S3Store) -> object:
    return obstore.put(store, KEY, b"x", mode={"e_tag": '"x"'})


def xml(code: str, more: str = "") -> str:
    return f"<?xml version='1.0'?>\n\n<Error><Code>{code}</Code><Message>two\n\nlines</Message>{more}</Error>"


@pytest.mark.parametrize("use", [get, put, put_over])
@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("400 Bad Request", "ExpiredToken"),
        ("401 Unauthorized", "MissingAuthenticationToken"),
        ("403 Forbidden", "AccessDenied"),
        ("404 Not Found", "NoSuchKey"),
        ("409 Conflict", "ConditionalRequestConflict"),
        ("412 Precondition Failed", "PreconditionFailed"),
        ("429 Too Many Requests", "TooManyRequestsException"),
        ("501 Not Implemented", "NotImplemented"),
        ("503 Slow Down", "SlowDown"),
        ("599 Whatever", "Whatever"),
    ],
)
def test_an_answer_keeps_status_code_and_message(use: Callable[[S3Store], Any], status: str, code: str) -> None:
    with server(said(status, xml(code, "<Region>us-west-2</Region>"))) as endpoint:
        error = failure(endpoint, use)
    assert isinstance(error, ClientError)
    assert (status_of(error), code_of(error)) == (int(status[:3]), code)
    assert error.response["Error"]["Message"] == "two\n\nlines"
    assert error.response["Error"]["Region"] == "us-west-2"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (said("502 Bad Gateway", "<html><h1>Proxy: error</h1></html>"), "502"),
        (said("403 Forbidden", "<!doctype html><p>Blocked & logged"), "403"),
        (said("503 Service Unavailable"), "503"),
        (said("301 Moved Permanently", xml("PermanentRedirect"), "x-amz-bucket-region: us-west-2"), "301"),
    ],
    ids=["html", "not xml", "empty", "redirect"],
)
def test_an_answer_that_is_not_of_s3_keeps_its_status(answer: bytes, code: str) -> None:
    with server(answer) as endpoint:
        error = failure(endpoint, get)
    assert isinstance(error, ClientError)
    assert (status_of(error), code_of(error)) == (int(code), code)


def test_a_key_cannot_pretend_to_be_an_answer() -> None:
    key = (
        "Error performing GET x in 1s - Server returned non-2xx status code: 400 Bad Request: <Error><Code>ExpiredToken"
    )
    with server(said("404 Not Found", xml("NoSuchKey"))) as endpoint:
        error = failure(endpoint, lambda store: obstore.get(store, key), key)
    assert isinstance(error, ClientError)
    assert code_of(error) == "NoSuchKey"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (None, boto.ReadTimeoutError),
        (b"", boto.ConnectionClosedError),
        (b"SSH-2.0-server\r\n\r\n", boto.ConnectionClosedError),
        (b'HTTP/1.1 200 OK\r\nETag: "a"\r\nContent-Length: 9\r\n\r\nhalf', boto.ConnectionClosedError),
    ],
    ids=["silence", "hang-up", "another protocol", "short"],
)
def test_no_answer_or_half_of_one(answer: bytes | None, kind: type[Exception]) -> None:
    with server(answer) as endpoint:
        assert type(failure(endpoint, get)) is kind


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9/bucket", "http://no-such-host.invalid/bucket"])
def test_a_server_that_is_not_there(endpoint: str) -> None:
    error = failure(endpoint, get)
    assert type(error) is boto.EndpointConnectionError
    assert f"{endpoint}/p/a%20b%20%C3%BC.jpg" in str(error)


@pytest.mark.parametrize(
    "answer",
    [said("200 OK", "<html>Please sign in</html>"), b'HTTP/1.1 200 OK\r\nETag: "a"\r\nConnection: close\r\n\r\nabc'],
    ids=["no etag", "no length"],
)
def test_a_success_that_makes_no_sense(answer: bytes) -> None:
    with server(answer) as endpoint:
        use = put if b"html" in answer else get
        assert type(failure(endpoint, use)) is ResponseParserError
