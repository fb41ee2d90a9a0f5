"""One HTTP connection pool with retries. A call that this module repeats is safe to repeat."""

from __future__ import annotations

import ipaddress
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from tagfleet.client.errors import BadAnswer, ClientError, ConnectionLost, Disconnected, Refused, Unreachable, refusal

API = "/api/v1"

_OUTCOME_UNKNOWN = "urn:tagfleet:outcome-unknown"
_TRY_AGAIN = frozenset({429, 502, 503, 504})
_LONGEST_RETRY_AFTER_S = 60.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long one call is tried again after lost connections and 429/502/503/504: pauses of `first_s`, doubled up to
    `longest_s` with jitter (or what Retry-After asks for), until `total_s` have gone by without an answer.

    An address that has never answered this client is not tried again.
    """

    total_s: float = 30.0
    first_s: float = 0.2
    longest_s: float = 5.0

    def pause(self, attempt: int) -> float:
        """Return the pause in seconds before attempt number `attempt`, counted from 0.

        The client has its own formula because it imports nothing else of Tagfleet.
        """
        return min(self.longest_s, self.first_s * 2.0 ** min(attempt, 20)) * random.uniform(0.5, 1.0)  # noqa: S311  # jitter


@dataclass(frozen=True, slots=True)
class Content:
    """A request's body that can be made anew for every attempt."""

    type: str
    length: int
    pieces: Callable[[], Iterator[bytes]]


class Transport:
    def __init__(
        self, url: str, *, timeout: float, patience: Patience, connections: int, api_key: str | None = None
    ) -> None:
        self.url = url.rstrip("/")
        self.patience = patience
        self.stopping = threading.Event()
        self._answered = False
        host = _host(url)
        self._http = httpx.Client(
            base_url=self.url,
            timeout=timeout,
            headers=_authorization(api_key),
            trust_env=not _loopback(host),  # a proxy has no business with our own machine
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=connections, keepalive_expiry=2.0),
        )

    def close(self) -> None:
        self.stopping.set()
        self._http.close()

    def json(self, method: str, path: str, **request: Any) -> Any:
        """The answer's JSON; the arguments are those of `send`. Raises ClientError."""
        response = self.send(method, path, **request)
        try:
            return response.json()
        except ValueError:
            kind = response.headers.get("content-type", "no content type")
            raise BadAnswer(
                f"{self.url}{API}{path} answered {kind} where JSON was expected: is it a Tagfleet?"
            ) from None

    def send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
        content: Content | None = None,
        repeat: bool = True,
    ) -> httpx.Response:
        """The answer, a success. Raises ClientError.

        Without `repeat` a request is sent again only where it surely was not carried out: for what would be done twice.
        """
        return self._patiently(lambda: self._send(method, path, params, json, headers, content), repeat)

    @contextmanager
    def stream(
        self,
        path: str,
        *,
        headers: Mapping[str, str],
        read_timeout: float,
        params: Mapping[str, Any] | None = None,
        answered: Callable[[Mapping[str, str]], None] = lambda headers: None,
    ) -> Iterator[Iterator[bytes]]:
        """The answer's bytes as they come; `answered` gets its headers before.

        Raises Refused, and httpx's errors as they are: the caller resumes.
        """
        timeout = httpx.Timeout(self._http.timeout.connect, read=read_timeout)
        with self._http.stream("GET", API + path, params=params, headers=dict(headers), timeout=timeout) as response:
            if response.status_code != 200:
                response.read()
                raise _refusal(response)
            self._answered = True
            answered(response.headers)
            yield response.iter_raw()

    def lost(self, error: httpx.TransportError) -> ClientError:
        """The sentence for a connection that failed."""
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return Unreachable(self.url)
        return ConnectionLost(f"lost the connection to {self.url}: {error or type(error).__name__}")

    def hopeless(self, error: ClientError) -> bool:
        """Whether trying again is pointless from the first failure on: nothing ever answered at this address."""
        return isinstance(error, Unreachable) and not self._answered

    def pause(self, seconds: float) -> None:
        if self.stopping.wait(seconds):
            raise Disconnected

    def _patiently(self, send: Callable[[], httpx.Response], repeat: bool) -> httpx.Response:
        started = time.monotonic()
        attempt = 0
        while True:
            pause = self.patience.pause(attempt)
            try:
                response = send()
            except httpx.TransportError as error:
                if self.stopping.is_set():
                    raise Disconnected from None
                problem = self.lost(error)
                if not repeat and not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
                    raise problem from None
            else:
                self._answered = True
                if response.is_success:
                    return response
                problem = _refusal(response)
                if response.status_code not in _TRY_AGAIN or (not repeat and _may_be_done(response)):
                    raise problem
                pause = max(pause, _retry_after(response))
            if self.hopeless(problem) or time.monotonic() + pause > started + self.patience.total_s:
                raise problem
            attempt += 1
            self.pause(pause)

    def _send(
        self,
        method: str,
        path: str,
        params: Mapping[str, Any] | None,
        json: Any,
        headers: Mapping[str, str] | None,
        content: Content | None,
    ) -> httpx.Response:
        if self.stopping.is_set():
            raise Disconnected
        if content is None:
            return self._http.request(method, API + path, params=params, json=json, headers=headers)
        said = {"Content-Type": content.type, "Content-Length": str(content.length), **(headers or {})}
        return self._http.request(method, API + path, params=params, headers=said, content=content.pieces())


def _authorization(api_key: str | None) -> dict[str, str] | None:
    """The line break at the end of a file that a key was read from is no part of it."""
    key = (api_key or "").strip()
    if not key:
        return None
    if not (key.isascii() and key.isprintable()):  # no words about which: it may be a secret all the same
        raise ClientError("this API key can't be one: a key has letters, digits, - and _, and is one line")
    return {"Authorization": f"Bearer {key}"}


def _host(url: str) -> str:
    problem = "it should begin with http:// or https:// and name a host"
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        parsed, problem = httpx.URL(""), str(error)
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ClientError(f"{url!r} is no address of a Tagfleet: {problem}")
    return parsed.host


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _refusal(response: httpx.Response) -> Refused:
    try:
        problem = response.json()
    except ValueError:
        problem = {}
    if not isinstance(problem, dict):
        problem = {}
    title = str(problem.get("title") or response.reason_phrase or "the service refused")
    detail, request_id = (str(problem.get(name) or "") for name in ("detail", "request_id"))
    return refusal(response.status_code, title, detail, request_id)


def _may_be_done(response: httpx.Response) -> bool:
    try:
        problem = response.json()
    except ValueError:
        return False
    return isinstance(problem, dict) and problem.get("type") == _OUTCOME_UNKNOWN


def _retry_after(response: httpx.Response) -> float:
    try:
        return min(_LONGEST_RETRY_AFTER_S, max(0.0, float(response.headers.get("retry-after", "0"))))
    except ValueError:  # the form with a date: our own pause will do
        return 0.0
