"""One pool of HTTP connections, with retries.

Every request that is repeated here is safe to repeat: it changes nothing, is idempotent or carries an idempotency key,
or failed before the service could act on it.
"""

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

from tagfleet.client._errors import (
    BadAnswer,
    ClientError,
    ConnectionLost,
    Disconnected,
    Refused,
    Unreachable,
    to_refused,
)

API = "/api/v1"

_OUTCOME_UNKNOWN = "urn:tagfleet:outcome-unknown"
_TRY_AGAIN = frozenset({429, 502, 503, 504})
_LONGEST_RETRY_AFTER_S = 60.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long one call is retried after lost connections and 429/502/503/504.

    Pauses start at `first_s` and double up to `longest_s`, with jitter; Retry-After overrides them. The call fails
    after `total_s`. An address that has never answered this client is not retried.
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
    """The body of a request. `pieces` produces it anew for each attempt; `length` is in bytes."""

    type: str
    length: int
    pieces: Callable[[], Iterator[bytes]]


class Transport:
    """Sends requests to one service. `close` sets `stopping`, which ends all waits."""

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
            trust_env=not _loopback(host),  # never use a proxy for this machine itself
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=connections, keepalive_expiry=2.0),
        )

    def close(self) -> None:
        """End waits and requests in other threads, and close the connections."""
        self.stopping.set()
        self._http.close()

    def json(self, method: str, path: str, **request: Any) -> Any:
        """Send a request and return the answer's JSON. It takes the arguments of `send`. Raises ClientError."""
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
        """Send a request, with retries, and return the successful answer. Raises ClientError.

        With `repeat` False, send it again only if the service certainly did not act on it.
        """
        return self._retry(lambda: self._send(method, path, params, json, headers, content), repeat)

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
        """Yield the answer's bytes as they arrive; `answered` gets the headers first.

        Raises Refused, and httpx's errors unchanged, because the caller resumes.
        """
        timeout = httpx.Timeout(self._http.timeout.connect, read=read_timeout)
        with self._http.stream("GET", API + path, params=params, headers=dict(headers), timeout=timeout) as response:
            if response.status_code != 200:
                response.read()
                raise _read_refusal(response)
            self._answered = True
            answered(response.headers)
            yield response.iter_raw()

    def explain(self, error: httpx.TransportError) -> ClientError:
        """Return the error for a connection that failed."""
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return Unreachable(self.url)
        return ConnectionLost(f"lost the connection to {self.url}: {error or type(error).__name__}")

    def is_hopeless(self, error: ClientError) -> bool:
        """Return whether retrying is pointless: nothing has ever answered at this address."""
        return isinstance(error, Unreachable) and not self._answered

    def pause(self, seconds: float) -> None:
        """Wait, unless the client is closed meanwhile. Raises Disconnected."""
        if self.stopping.wait(seconds):
            raise Disconnected

    def _retry(self, send: Callable[[], httpx.Response], repeat: bool) -> httpx.Response:
        started = time.monotonic()
        attempt = 0
        while True:
            pause = self.patience.pause(attempt)
            try:
                response = send()
            except httpx.TransportError as error:
                if self.stopping.is_set():
                    raise Disconnected from None
                problem = self.explain(error)
                if not repeat and not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
                    raise problem from None
            else:
                self._answered = True
                if response.is_success:
                    return response
                problem = _read_refusal(response)
                if response.status_code not in _TRY_AGAIN or (not repeat and _outcome_is_unknown(response)):
                    raise problem
                pause = max(pause, _read_retry_after(response))
            if self.is_hopeless(problem) or time.monotonic() + pause > started + self.patience.total_s:
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
    """Return the header for an API key, without white space around it, such as the line break of a file."""
    key = (api_key or "").strip()
    if not key:
        return None
    if not (key.isascii() and key.isprintable()):  # do not quote it: it may still be a secret
        raise ClientError("this is not an API key: a key is one line of letters, digits, - and _")
    return {"Authorization": f"Bearer {key}"}


def _host(url: str) -> str:
    """Return the host of a URL. Raises ClientError if the URL is invalid."""
    problem = "it should begin with http:// or https:// and name a host"
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        parsed, problem = httpx.URL(""), str(error)
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ClientError(f"{url!r} is not the address of a Tagfleet: {problem}")
    return parsed.host


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _read_refusal(response: httpx.Response) -> Refused:
    try:
        problem = response.json()
    except ValueError:
        problem = {}
    if not isinstance(problem, dict):
        problem = {}
    title = str(problem.get("title") or response.reason_phrase or "the service refused")
    detail, request_id = (str(problem.get(name) or "") for name in ("detail", "request_id"))
    return to_refused(response.status_code, title, detail, request_id)


def _outcome_is_unknown(response: httpx.Response) -> bool:
    """Return whether the service says that it does not know if it carried out the request."""
    try:
        problem = response.json()
    except ValueError:
        return False
    return isinstance(problem, dict) and problem.get("type") == _OUTCOME_UNKNOWN


def _read_retry_after(response: httpx.Response) -> float:
    """Return the seconds of Retry-After, capped; 0 if there is none or it is a date."""
    try:
        return min(_LONGEST_RETRY_AFTER_S, max(0.0, float(response.headers.get("retry-after", "0"))))
    except ValueError:  # a date: use our own pause
        return 0.0
