"""Faults for the next requests: other answers, broken connections, delays."""

from __future__ import annotations

import io
import json
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from werkzeug.wsgi import get_input_stream

from tagfleet.testing.request import Request

_FOREVER = 1 << 60
_HELD_S = 60.0
_EVENT = b"event: item\n"


Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


@dataclass
class _Fault:
    """A fault for `times` requests. `act` gets the application, and answers in its place."""

    method: str | None
    ending: str
    times: int
    act: Callable[[Application, dict[str, Any], Any], Iterable[bytes]]


class Faults:
    """WSGI middleware in front of the web tier: records every request, and applies the test's faults.

    A fault applies to the next requests whose path ends in `path`, if given only those with this `method`. Several
    faults for one path apply one after the other. Thread-safe.
    """

    def __init__(self, application: Application) -> None:
        self.requests: list[Request] = []
        self._application = application
        self._faults: deque[_Fault] = deque()
        self._lock = threading.Lock()
        self._in_hand = 0
        self._is_over = False
        self._ended = threading.Condition()

    def answers_next(
        self,
        path: str,
        status: int = 503,
        *,
        json: Any = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        method: str | None = None,
        times: int | None = 1,
    ) -> None:
        """Answer the next `times` requests (None: all) with this status, and with JSON or a body of bytes.

        Without both, an error has a problem document, as the service sends it, and a success is empty.
        """
        reason = HTTPStatus(status).phrase
        given = {"Content-Type": "application/octet-stream"}
        if body is None:
            if json is None and status >= 400:
                json = {"type": "about:blank", "title": reason, "status": status, "detail": "this is a test"}
                given = {"Content-Type": "application/problem+json"}
            elif json is not None:
                given = {"Content-Type": "application/json"}
            body = b"" if json is None else _encoded(json)
        if status in (429, 503):
            given["Retry-After"] = "0"
        given |= {"Content-Length": str(len(body)), **(headers or {})}
        answer = body

        def act(_application: Application, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
            start(f"{status} {reason}", list(given.items()))
            return [answer]

        self._plan(path, method, times, act)

    def refuses_next(
        self, path: str, status: int, detail: str, *, method: str | None = None, times: int | None = 1
    ) -> None:
        """Answer the next requests with a problem document that says `detail`."""
        problem = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
        kind = {"Content-Type": "application/problem+json"}
        self.answers_next(
            path, status, json=problem | {"request_id": "req_1"}, headers=kind, method=method, times=times
        )

    def breaks_next(
        self,
        path: str,
        *,
        carried_out: bool = False,
        events: int | None = None,
        body: bytes | None = None,
        method: str | None = None,
        times: int | None = 1,
    ) -> None:
        """Break the connection of the next requests, by default before the application sees them.

        With `carried_out` the application carries the request out, and its answer is lost. With `body` the answer
        breaks after these bytes. With `events` an event stream breaks after this many images.
        """

        def act(application: Application, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
            if events is not None:
                return _cut(environ, application(environ, start), events)
            if body is not None:
                start("200 OK", [("Content-Length", str(len(body) + 1000))])
                return _then_broken(environ, body)
            if carried_out:
                answer = application(environ, lambda *_: lambda _data: None)
                b"".join(answer)
                _close(answer)
            start("200 OK", [])
            _hang_up(environ)
            return []

        self._plan(path, method, times, act)

    def delay(self, path: str, seconds: float, *, method: str | None = None, times: int | None = 1) -> None:
        """Delay the next requests by `seconds`."""

        def act(application: Application, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
            time.sleep(seconds)
            return application(environ, start)

        self._plan(path, method, times, act)

    @contextmanager
    def hold(self, path: str, *, method: str | None = None) -> Iterator[None]:
        """Hold requests back until the `with` block ends, but no longer than 60 s each."""
        over = threading.Event()

        def act(application: Application, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
            over.wait(_HELD_S)
            return application(environ, start)

        fault = self._plan(path, method, None, act)
        try:
            yield
        finally:
            over.set()
            with self._lock:
                if fault in self._faults:  # `clear` may have dropped it
                    self._faults.remove(fault)

    def clear(self) -> None:
        """Drop all faults that have not applied yet."""
        with self._lock:
            self._faults.clear()

    def count(self, ending: str, method: str | None = None) -> int:
        """Return the number of requests so far whose path ends in `ending`."""
        return sum(one.path.endswith(ending) and method in (None, one.method) for one in list(self.requests))

    def uploads(self) -> list[list[str]]:
        """Return the file names of each upload so far, including repeated uploads."""
        sent = [one for one in list(self.requests) if one.method == "POST" and one.path.endswith("/images")]
        return [one.file_names for one in sent]

    def __call__(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        with self._ended:
            if self._is_over:
                _hang_up(environ)
                return []
            self._in_hand += 1
        try:
            answer = self._answer(environ, start)
        except BaseException:
            self._end()
            raise
        return _Answer(answer, self._end)

    def end(self, timeout_s: float) -> bool:
        """Break the connections of requests from now on, and wait for those before; return whether all have ended.

        A server that has stopped may still hand over a request whose connection it took before.
        """
        with self._ended:
            self._is_over = True
            return self._ended.wait_for(lambda: not self._in_hand, timeout_s)

    def _end(self) -> None:
        with self._ended:
            self._in_hand -= 1
            self._ended.notify_all()

    def _answer(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        body = get_input_stream(environ).read()
        environ["wsgi.input"] = io.BytesIO(body)
        request = Request.of(environ, body)
        with self._lock:
            self.requests.append(request)
            fault = self._next(request)
        if fault is None:
            return self._application(environ, start)
        return fault.act(self._application, environ, start)

    def _plan(
        self,
        path: str,
        method: str | None,
        times: int | None,
        act: Callable[[Application, dict[str, Any], Any], Iterable[bytes]],
    ) -> _Fault:
        fault = _Fault(method, path, _FOREVER if times is None else times, act)
        with self._lock:
            self._faults.append(fault)
        return fault

    def _next(self, request: Request) -> _Fault | None:
        for fault in self._faults:
            if request.path.endswith(fault.ending) and fault.method in (None, request.method):
                fault.times -= 1
                if not fault.times:
                    self._faults.remove(fault)
                return fault
        return None


class _Answer:
    """An answer that calls `ended` once: when it is exhausted, fails, is closed, or is garbage-collected.

    The last case is needed because Werkzeug's server does not close it if the connection breaks at the wrong moment.
    """

    def __init__(self, answer: Iterable[bytes], ended: Callable[[], None]) -> None:
        self._answer = answer
        self._portions = iter(answer)
        self._ended: Callable[[], None] | None = ended

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._portions)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            try:
                _close(self._answer)
            finally:
                ended()

    def __del__(self) -> None:
        self.close()


def _encoded(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def _then_broken(environ: Mapping[str, Any], body: bytes) -> Iterator[bytes]:
    yield body
    _hang_up(environ)


def _cut(environ: Mapping[str, Any], answer: Iterable[bytes], events: int) -> Iterator[bytes]:
    """Pass a stream on up to and including its `events`-th image, then hang up."""
    left = events
    try:
        for chunk in answer:
            for event in chunk.split(b"\n\n"):
                if not event:
                    continue
                if _EVENT in event + b"\n":
                    if not left:
                        _hang_up(environ)
                        return
                    left -= 1
                elif b"event: completed" in event:
                    _hang_up(environ)
                    return
                yield event + b"\n\n"
    finally:
        _close(answer)


def _close(answer: Iterable[bytes]) -> None:
    if close := getattr(answer, "close", None):
        close()


def _hang_up(environ: Mapping[str, Any]) -> None:
    connection = environ.get("werkzeug.socket")
    if connection is None:
        raise ConnectionResetError("the connection was broken by a fault of tagfleet.testing")
    connection.shutdown(socket.SHUT_RDWR)
