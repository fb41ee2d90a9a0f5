"""Send one signed request to the receiver of a webhook, and return the status of the answer.

1. The connection goes to an address that was checked. h11 speaks HTTP over it, because HTTP clients would look the name
   up again.
2. One deadline holds for the whole request.
3. Signatures follow Standard Webhooks (https://www.standardwebhooks.com).
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
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

import h11

from config.settings import WebhookSettings
from web_tier.services.webhook_target import BadTarget, Resolve, Target, look_up, resolve_target

SECRET_PREFIX = "whsec_"  # noqa: S105  # what every secret begins with

_SECRET_BYTES = 32
_MAX_HEAD = 256 << 10
"""Limit of an answer's status line and headers in bytes; cookies and policies make some long."""

_MAX_INTERIM = 32
"""Limit of the number of answers before the final one (`103 Early Hints`, `100 Continue`)."""

_FINAL_STATUS = re.compile(rb"HTTP/1\.[01] ([2-9]\d\d)[ \r\n]")
_PIECE = 64 << 10
_MAX_REASON = 120


@dataclass(frozen=True, slots=True)
class DeliveryOutcome:
    """The status of the receiver's answer, or the reason why there is none."""

    status: int | None
    error: str | None

    @property
    def succeeded(self) -> bool:
        """Whether the receiver answered with a 2xx status."""
        return self.status is not None and 200 <= self.status < 300


def new_secret() -> str:
    """Return a random secret in the form of Standard Webhooks."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def sign(secret: str, id: str, timestamp: int, body: bytes) -> str:
    """Return the header webhook-signature of a request. `timestamp` is in Unix seconds."""
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    signed = b".".join((id.encode(), str(timestamp).encode(), body))
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


class WebhookClient:
    """Sends to receivers. `timeout_s` limits a whole request; `clock` returns Unix seconds."""

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

    @classmethod
    def from_settings(cls, settings: WebhookSettings, clock: Callable[[], float]) -> WebhookClient:
        """Return a client with the limits of the settings."""
        return cls(allow_private=settings.allow_private, timeout_s=settings.timeout_s, clock=clock)

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return self._given_tls or ssl.create_default_context()

    def check(self, url: str) -> None:
        """Raise BadTarget if nothing may be sent to `url`."""
        resolve_target(url, allow_private=self._allow_private, resolve=self._resolve)

    def post(self, url: str, secret: str, id: str, body: bytes) -> DeliveryOutcome:
        """Send `body` as the message `id`. Does not follow redirects, and ignores proxies of the environment."""
        try:
            target = resolve_target(url, allow_private=self._allow_private, resolve=self._resolve)
        except BadTarget as error:
            return DeliveryOutcome(None, str(error))
        try:
            status = self._exchange(target, self._request(target, secret, id, body), body)
        except TimeoutError:
            return DeliveryOutcome(None, f"{target.authority} did not answer within {self._timeout_s:g} s")
        except ssl.SSLError as error:
            return DeliveryOutcome(None, f"{target.authority}: TLS failed: {error.reason or error}")
        except OSError as error:
            return DeliveryOutcome(None, f"{target.authority}: {error.strerror or error}")
        except ValueError:  # some names that the resolver knows are invalid for TLS
            return DeliveryOutcome(None, f"{target.authority} is not a valid host name for TLS")
        except h11.ProtocolError as error:
            reason = str(error).encode("ascii", "backslashreplace").decode()[:_MAX_REASON]
            return DeliveryOutcome(None, f"{target.authority} gave no valid HTTP answer: {reason}")
        refused = f"it answered {status}" + ("; redirects are not followed" if 300 <= status < 400 else "")
        return DeliveryOutcome(status, None if 200 <= status < 300 else refused)

    def _request(self, target: Target, secret: str, id: str, body: bytes) -> h11.Request:
        timestamp = int(self._clock())
        headers = {
            "Host": target.authority,
            "User-Agent": "Tagfleet",
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "Connection": "close",
            "webhook-id": id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(secret, id, timestamp, body),
        }
        return h11.Request(method="POST", target=target.path, headers=list(headers.items()))

    def _exchange(self, target: Target, request: h11.Request, body: bytes) -> int:
        """Return the status of the final answer, without reading its body. Raises OSError, h11.ProtocolError."""
        until = time.monotonic() + self._timeout_s
        http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD)
        events = (request, h11.Data(body), h11.EndOfMessage())
        sent = b"".join(piece for event in events if (piece := http.send(event)))
        with _connect(target, until) as plain:
            plain.settimeout(_left(until))
            connection = self._tls.wrap_socket(plain, server_hostname=target.host) if target.tls else plain
            with connection:
                with suppress(ConnectionError):  # a receiver may answer before it has read all
                    _send(connection, sent, until)
                return _final_status(connection, http, until)


def _send(connection: socket.socket, data: bytes, until: float) -> None:
    rest = memoryview(data)
    while rest:
        connection.settimeout(_left(until))
        rest = rest[connection.send(rest) :]


def _final_status(connection: socket.socket, http: h11.Connection, until: float) -> int:
    """Read up to the final answer and return its status. Raises OSError, h11.ProtocolError.

    If the headers of an answer are cut off, too long, malformed or late, its status line counts: the receiver has
    answered, and would otherwise get the request again for days.
    """
    interim = 0
    while True:
        unread, _ = http.trailing_data
        try:
            event = http.next_event()
            if event is h11.NEED_DATA:
                connection.settimeout(_left(until))
                http.receive_data(connection.recv(_PIECE))
                continue
        except (OSError, h11.RemoteProtocolError):
            if found := _FINAL_STATUS.match(unread):
                return int(found[1])
            raise
        if isinstance(event, h11.Response):
            return event.status_code
        interim += 1
        if not isinstance(event, h11.InformationalResponse) or interim > _MAX_INTERIM:
            raise h11.RemoteProtocolError(f"no final answer after {interim} interim ones")


def _connect(target: Target, until: float) -> socket.socket:
    """Connect to the first address that accepts; the addresses share the time that is left. Raises OSError."""
    for number, address in enumerate(target.addresses, start=1):
        share = _left(until) / (len(target.addresses) - number + 1)
        try:
            return socket.create_connection((address, target.port), share)
        except OSError:
            if number == len(target.addresses):
                raise
    raise AssertionError("a target has at least one address")


def _left(until: float) -> float:
    """Return the seconds left of the whole request, which slow single bytes cannot prolong. Raises TimeoutError."""
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
