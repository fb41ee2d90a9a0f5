"""One signed request to a webhook's receiver, of which only the status comes back.

Signatures are those of Standard Webhooks (https://www.standardwebhooks.com).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from config.settings import WebhookSettings
from web_tier.webhook_target import BadTarget, Resolve, Target, look_up, target_of

SECRET_PREFIX = "whsec_"  # noqa: S105  # what every secret begins with

_SECRET_BYTES = 32
_MAX_STATUS_LINE = 1024
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})[ \r\n]")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one attempt: the status of the answer, or why there is none."""

    status: int | None
    error: str | None

    @property
    def arrived(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


def new_secret() -> str:
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def signature(secret: str, id: str, timestamp: int, body: bytes) -> str:
    """The header webhook-signature of a request."""
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    signed = b".".join((id.encode(), str(timestamp).encode(), body))
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def postman_of(settings: WebhookSettings, clock: Callable[[], float]) -> Postman:
    return Postman(allow_private=settings.allow_private, timeout_s=settings.timeout_s, clock=clock)


class Postman:
    """Sends to receivers; `timeout_s` is for one request as a whole, and `clock` gives Unix seconds."""

    def __init__(
        self,
        *,
        allow_private: bool,
        timeout_s: float,
        clock: Callable[[], float],
        resolve: Resolve = look_up,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._allow_private = allow_private
        self._timeout_s = timeout_s
        self._clock = clock
        self._resolve = resolve
        self._given_tls = tls

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return self._given_tls or ssl.create_default_context()

    def check(self, url: str) -> None:
        """Raises BadTarget where nothing would be sent to `url`."""
        target_of(url, allow_private=self._allow_private, resolve=self._resolve)

    def post(self, url: str, secret: str, id: str, body: bytes) -> Outcome:
        """Send `body` as the message `id`. Redirects are not followed, and proxies of the environment not used."""
        try:
            target = target_of(url, allow_private=self._allow_private, resolve=self._resolve)
        except BadTarget as error:
            return Outcome(None, str(error))
        timestamp = int(self._clock())
        headers = {
            "Host": target.authority,
            "User-Agent": "Tagfleet",
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "Connection": "close",
            "webhook-id": id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(secret, id, timestamp, body),
        }
        head = f"POST {target.path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        try:
            status = self._exchange(target, f"{head}\r\n".encode("ascii") + body)
        except TimeoutError:
            return Outcome(None, f"{target.authority} did not answer within {self._timeout_s:g} s")
        except ssl.SSLError as error:
            return Outcome(None, f"{target.authority}: TLS failed: {error.reason or error}")
        except OSError as error:
            return Outcome(None, f"{target.authority}: {error.strerror or error}")
        except ValueError:  # TLS takes some names for none that the resolver has an address for
            return Outcome(None, f"{target.authority} is no name for TLS")
        if status is None:
            return Outcome(None, f"{target.authority} answered with something that is no HTTP")
        refused = f"it answered {status}" + ("; redirects are not followed" if 300 <= status < 400 else "")
        return Outcome(status, None if 200 <= status < 300 else refused)

    def _exchange(self, target: Target, request: bytes) -> int | None:
        """The status of the answer, of which nothing more is read. Raises OSError."""
        until = time.monotonic() + self._timeout_s
        with _connected(target, until) as plain:
            plain.settimeout(_left(until))
            connection = self._tls.wrap_socket(plain, server_hostname=target.host) if target.tls else plain
            with connection:
                connection.settimeout(_left(until))
                connection.sendall(request)
                said = b""
                while b"\n" not in said and len(said) < _MAX_STATUS_LINE:
                    connection.settimeout(_left(until))
                    if not (more := connection.recv(_MAX_STATUS_LINE)):
                        break
                    said += more
        found = _STATUS_LINE.match(said)
        return None if found is None else int(found[1])


def _connected(target: Target, until: float) -> socket.socket:
    """To the first of the addresses that takes it; those that do not answer share the time. Raises OSError."""
    for number, address in enumerate(target.addresses, start=1):
        share = _left(until) / (len(target.addresses) - number + 1)
        try:
            return socket.create_connection((address, target.port), share)
        except OSError:
            if number == len(target.addresses):
                raise
    raise AssertionError("a target has an address")


def _left(until: float) -> float:
    """Of the whole request's time: one byte now and then must not keep it going."""
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
